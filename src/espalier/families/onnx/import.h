// From an ONNX file to a graph: constants folded, shape arithmetic resolved, decomposed norms and activations put together.
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
  OnnxModel model;                          // as read; initialisers view the mapped file
  std::map<std::string, OnnxNode> opaque;   // by graph node name: nodes of op "Opaque", kept as they were
};

struct OnnxImport {
  Graph graph;  // values named as in the file; nodes as well where they have a unique name
  std::shared_ptr<const OnnxSource> source;
  std::vector<Shape> input_shapes;  // of graph.inputs, in order
  std::vector<std::string> notes;   // what is kept opaque and why, one line each
};

struct OnnxImportOptions {
  std::map<std::string, Shape> input_shapes;  // by input, for dims that the file leaves open
  int64_t dynamic_dim = 1;                    // what other open dims become
};

// UserError naming the file and the node.
OnnxImport import_onnx(const std::filesystem::path& path, const OnnxImportOptions& options = {});
OnnxImport import_onnx(OnnxModel model, const OnnxImportOptions& options = {});

}  // namespace espalier
