// The names that a graph of an ONNX file defines, and those of the graphs around it.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "espalier/io/onnx/model.h"

namespace espalier {

class OnnxScope {
 public:
  // `label` names file and graph in errors.
  OnnxScope(std::string label, const std::vector<OnnxNode>& nodes, const OnnxScope* outer)
      : label_(std::move(label)), nodes_(nodes), outer_(outer) {}

  const std::string& label() const { return label_; }
  std::string label_of(size_t node) const { return label_ + ": " + describe(nodes_[node], node); }
  void set_node(size_t node) { node_ = node; }  // the one whose names are looked up, or whose subgraphs are

  void define_input(const std::string& name);
  void define_initializer(const std::string& name);  // may have the name of an input, whose default it then is
  void define_output_of_node(const std::string& name);
  bool defines(std::string_view name) const { return names_.contains(name); }

  // UserError unless this graph or one around it has defined the name so far.
  void require(const std::string& name) const;

 private:
  enum class Origin : uint8_t { kInput, kInitializer, kNode };
  struct Definition {
    Origin origin;
    size_t node;
  };
  const Definition* find(std::string_view name) const;
  std::string describe_definition(const Definition& definition) const;
  [[noreturn]] void refuse_missing(const std::string& name) const;

  std::string label_;
  const std::vector<OnnxNode>& nodes_;
  const OnnxScope* outer_;
  size_t node_ = 0;
  std::unordered_map<std::string_view, Definition> names_;
};

}  // namespace espalier
