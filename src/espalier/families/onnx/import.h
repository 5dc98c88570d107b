// From an ONNX file to a graph: constants folded, shape arithmetic resolved, decomposed norms and activations put
// together. The batch, dim 0 of the inputs, stays open even where the file has one baked in; all other sizes are fixed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

// What export needs to give back the file that the user brought.
struct OnnxSource {
  OnnxModel model;  // as read; initialisers view the mapped file
  // By graph node name: nodes of op "Opaque", kept as they were, but that inputs and outputs have the names of the
  // graph's values. The graph node reads those values, and after them what subgraphs capture, under the captured names.
  std::map<std::string, OnnxNode> opaque;
};

struct OnnxImport {
  Graph graph;  // values named as in the file; nodes as well where they have a unique name
  std::shared_ptr<const OnnxSource> source;
  std::vector<Shape> input_shapes;  // of graph.inputs, in order
  // One line each: what is kept opaque and why, open sizes that were given, and why the batch is fixed, where it is
  // ("the batch stays N: ...").
  std::vector<std::string> notes;
};

struct OnnxImportOptions {
  std::map<std::string, Shape> input_shapes;  // by input, for dims that the file leaves open
  int64_t dynamic_dim = 1;                    // the batch where it is open; other open dims must be given
};

// UserError naming the file and the node.
OnnxImport import_onnx(const std::filesystem::path& path, const OnnxImportOptions& options = {});
OnnxImport import_onnx(OnnxModel model, const OnnxImportOptions& options = {});

}  // namespace espalier
