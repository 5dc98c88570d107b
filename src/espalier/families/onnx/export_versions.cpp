#include "espalier/families/onnx/export_versions.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export.h"

namespace espalier {
namespace {

template <typename Visit>
void for_each_node(const std::vector<OnnxNode>& nodes, const Visit& visit) {
  for (const OnnxNode& node : nodes) {
    visit(node);
    for (const OnnxAttribute& attribute : node.attributes)
      for (const OnnxGraph& graph : attribute.graphs) for_each_node(graph.nodes, visit);
  }
}

// Operators whose meaning or inputs changed after operator set 9, with the set that changed them first. Later changes
// of other operators only allow more.
int64_t changed_in(const std::string& op) {
  static const std::map<std::string, int64_t> table = {{"Slice", 10}, {"TopK", 10}, {"Upsample", 10}, {"Clip", 11},
                                                       {"Pad", 11},   {"Resize", 11}, {"Scatter", 11}};
  const auto found = table.find(op);
  return found == table.end() ? 0 : found->second;
}

// The nodes that will be written as they were.
std::vector<OnnxNode> kept_nodes(const Graph& graph, const OnnxSource& source) {
  std::vector<OnnxNode> nodes;
  for (const Node& node : graph.nodes)
    if (const auto kept = source.opaque.find(node.name); node.op == "Opaque" && kept != source.opaque.end())
      nodes.push_back(kept->second);
  return nodes;
}

void check_kept(const Graph& graph, const OnnxSource& source, int64_t before, int64_t after) {
  if (before == after) return;
  for_each_node(kept_nodes(graph, source), [&](const OnnxNode& node) {
    if (!is_default_domain(node.domain)) return;
    const bool raised_to_least = before < kMinExportOpset && after == kMinExportOpset;
    if (raised_to_least && changed_in(node.op_type) <= before) return;
    throw UserError(node.name.empty() ? node.op_type : node.name,
                    fmt::format("operator set of {}, which is kept as it was", node.op_type), std::to_string(before),
                    std::to_string(after));
  });
}

using FunctionKey = std::tuple<std::string, std::string, std::string>;
FunctionKey key_of(const std::string& domain, const std::string& name, const std::string& overload) {
  return {is_default_domain(domain) ? "" : domain, name, overload};
}

std::vector<OnnxFunction> used_functions(const std::vector<OnnxNode>& nodes, const OnnxModel& source) {
  std::map<FunctionKey, const OnnxFunction*> known;
  for (const OnnxFunction& function : source.functions)
    known[key_of(function.domain, function.name, function.overload)] = &function;
  std::set<const OnnxFunction*> used;
  std::vector<const OnnxFunction*> open;
  const auto call = [&](const OnnxNode& node) {
    const auto found = known.find(key_of(node.domain, node.op_type, node.overload));
    if (found != known.end() && used.insert(found->second).second) open.push_back(found->second);
  };
  for_each_node(nodes, call);
  while (!open.empty()) {
    const OnnxFunction* function = open.back();
    open.pop_back();
    for_each_node(function->nodes, call);
  }
  std::vector<OnnxFunction> kept;
  for (const OnnxFunction& function : source.functions)
    if (used.count(&function)) kept.push_back(function);
  return kept;
}

}  // namespace

int64_t export_opset(const Graph& graph, const OnnxSource* source, int64_t wanted) {
  const auto own = source ? opset_version(source->model.opset_imports, "") : std::nullopt;
  const int64_t before = own.value_or(kDefaultExportOpset);
  const int64_t opset = wanted != 0 ? wanted : std::clamp(before, kMinExportOpset, kMaxExportOpset);
  if (opset < kMinExportOpset || opset > kMaxExportOpset)
    throw UserError("operator set", "version", fmt::format("{} to {}", kMinExportOpset, kMaxExportOpset),
                    std::to_string(opset));
  if (source) check_kept(graph, *source, before, opset);
  return opset;
}

int64_t min_ir_of(int64_t opset) {
  return opset >= 21 ? 10 : opset >= 19 ? 9 : opset >= 15 ? 8 : opset >= 12 ? 7 : 6;
}

void keep_used_versions(OnnxModel& model, const OnnxModel* source, int64_t opset) {
  if (source) model.functions = used_functions(model.graph.nodes, *source);
  std::set<std::string> domains;
  const auto see = [&](const OnnxNode& node) { domains.insert(node.domain); };
  for_each_node(model.graph.nodes, see);
  for (const OnnxFunction& function : model.functions) {
    domains.insert(function.domain);
    for_each_node(function.nodes, see);
  }
  bool has_default = false;
  for (const OnnxOpset& import : source ? source->opset_imports : std::vector<OnnxOpset>{}) {
    if (!is_default_domain(import.domain) && !domains.count(import.domain)) continue;
    model.opset_imports.push_back(import);
    if (!is_default_domain(import.domain)) continue;
    has_default = true;
    model.opset_imports.back().version = opset;
  }
  if (!has_default) model.opset_imports.insert(model.opset_imports.begin(), OnnxOpset{"", opset, {}});
}

}  // namespace espalier
