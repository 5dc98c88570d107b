// The rules of the ONNX specification ("IR.md": models, graphs, names within a graph, nodes, functions) that a file
// must keep before anything is computed from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/io/onnx/model.h"

namespace espalier {

constexpr int64_t kMinOnnxIr = 3, kMaxOnnxIr = 14;
constexpr int64_t kMinOnnxOpset = 9, kMaxOnnxOpset = 21;  // of the default domain; other domains are free

// UserError naming `where`, the graph and the node, tensor or value, what was expected and found:
// - IR version and operator sets: absent, unsupported, a domain twice, a node's domain that is not imported
// - tensors: check_onnx_tensor() and check_onnx_sparse() of tensor.h
// - values: shapes with negative sizes (but -1, which old files write for unknown), or a product that overflows
// - names: an input without or with a used name, an initialiser twice, a value with two producers (in a subgraph also
// one
//   that its outer graphs define), a node that reads what nothing produces, what only a later node produces (the
//   nodes of a cycle are named), an output that its graph does not define
// - nodes: no operator, an attribute twice, a reference to an attribute outside of functions or to one that it lacks
// - functions: twice the same, and functions that call each other in a circle
void validate_onnx(const OnnxModel& model, const std::string& where);

}  // namespace espalier
