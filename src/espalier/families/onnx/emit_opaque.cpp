// Nodes that espalier does not understand: written as they stood in the source, with the names that their inputs have
// now.
#include <algorithm>
#include <deque>
#include <unordered_map>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export_emitter.h"
#include "espalier/io/onnx/order.h"

namespace espalier::emit_opaque {
namespace {

using Renames = std::unordered_map<std::string, std::string>;

// Initialisers of the source that the graph does not know as parameters.
const OnnxTensor* source_initializer(const OnnxEmitter& e, const std::string& name) {
  for (const OnnxTensor& tensor : e.source()->model.graph.initializers)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

// Inputs of the graph node that the ONNX node does not read by name: others have taken the place of some that it did.
std::deque<ValueId> rerouted_inputs(const OnnxEmitter& e, const std::vector<std::string_view>& reads) {
  std::deque<ValueId> inputs;
  for (ValueId input : e.node().inputs)
    if (std::find(reads.begin(), reads.end(), e.graph_name(input)) == reads.end()) inputs.push_back(input);
  return inputs;
}

std::string name_now(OnnxEmitter& e, const std::string& name, std::deque<ValueId>& rerouted) {
  for (const auto& [role, parameter] : e.node().params)
    if (parameter == name) return e.use_parameter(name);
  for (ValueId input : e.node().inputs)
    if (e.graph_name(input) == name) return e.name_of(input);
  if (e.graph().has_parameter(name)) return e.use_parameter(name);
  if (const OnnxTensor* tensor = source_initializer(e, name)) {
    e.use_source_tensor(*tensor);
    return name;
  }
  if (rerouted.empty()) user_error("{}: its input '{}' is gone", e.node().name, printable(name));
  const ValueId input = rerouted.front();
  rerouted.pop_front();
  return e.name_of(input);
}

void rename_in(OnnxGraph& graph, const Renames& renames);

void rename_inputs(OnnxNode& node, const Renames& renames) {
  for (std::string& input : node.inputs)
    if (const auto found = renames.find(input); found != renames.end()) input = found->second;
  for (OnnxAttribute& attribute : node.attributes)
    for (OnnxGraph& graph : attribute.graphs) rename_in(graph, renames);
}

// A subgraph's own names hide none of those around it (IR.md), so a captured name means the same everywhere in it.
void rename_in(OnnxGraph& graph, const Renames& renames) {
  for (OnnxNode& node : graph.nodes) rename_inputs(node, renames);
  for (OnnxValueInfo& output : graph.outputs)
    if (const auto found = renames.find(output.name); found != renames.end()) output.name = found->second;
}

void opaque(OnnxEmitter& e) {
  const auto found = e.source() ? e.source()->opaque.find(e.node().name) : std::map<std::string, OnnxNode>::const_iterator{};
  ESP_ASSERT(e.source() && found != e.source()->opaque.end(), "{}: its ONNX node is lost", e.node().name);
  OnnxNode node = found->second;
  Renames renames;
  const auto reads = onnx_reads(found->second);
  auto rerouted = rerouted_inputs(e, reads);
  for (std::string_view read : reads)
    if (!read.empty() && !renames.count(std::string(read)))
      renames[std::string(read)] = name_now(e, std::string(read), rerouted);
  rename_inputs(node, renames);
  size_t output = 0;
  for (std::string& name : node.outputs)
    if (!name.empty() && output < e.node().outputs.size()) name = e.name_of(e.node().outputs[output++]);
  e.finish_node(std::move(node));
}

const RegisterOnnxEmit registered("Opaque", opaque);

}  // namespace
}  // namespace espalier::emit_opaque
