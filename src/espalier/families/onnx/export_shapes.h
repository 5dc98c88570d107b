// Which sizes in a graph follow the open sizes of its inputs: found by inferring all shapes again with each open size
// changed by one.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "espalier/graph/graph.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

// A size that callers choose. Where several inputs name the same size it is one, with several places.
struct OpenSize {
  std::string name;  // "": the file says only that it is open
  std::vector<std::pair<size_t, size_t>> places;  // (input, axis)
};

// By the source's inputs, else the batch and the length of token ids.
std::vector<OpenSize> open_sizes(const Graph& graph, const std::vector<Shape>& inputs, const OnnxGraph* source);

// Every reader of this value takes token ids from it.
bool is_token_ids(const Graph& graph, ValueId value);

class OpenShapes {
 public:
  // A size whose change the graph refuses counts as fixed.
  OpenShapes(const Graph& graph, const std::vector<Shape>& inputs, const std::vector<OpenSize>& open);

  const Shape& shape(ValueId value) const { return base_[static_cast<size_t>(value)].shape; }
  bool is_fixed(ValueId value, size_t axis) const;
  // Equal for two sizes that are equal whatever the open ones are.
  std::string signature(ValueId value, size_t axis) const;
  OnnxDim dim(ValueId value, size_t axis) const;  // a number, the name of an open size, or nothing known

 private:
  struct Run {
    std::string name;
    int64_t before = 0, after = 0;  // the open size
    std::vector<Value> values;
  };
  std::vector<Value> base_;
  std::vector<Run> runs_;
};

}  // namespace espalier
