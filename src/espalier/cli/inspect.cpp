// espalier inspect MODEL: what it is made of and what it costs.
#include <fmt/format.h>

#include <map>

#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/families/family.h"
#include "espalier/graph/operator.h"
#include "espalier/graph/sublayers.h"
#include "espalier/structure/coupling.h"

namespace espalier {
namespace {

class InspectVerb : public Verb {
 public:
  InspectVerb() : Verb("inspect", "layers, parameters, FLOPs and bytes of a model", "espalier inspect {model}") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, request_.model)->required();
    app.add_flag("--groups", request_.groups, "print every coupling group, its members and what couples them");
    app.add_flag("--layers", request_.layers, "print every node that has weights (--json always does)");
  }

  Json run() override;
  std::string text(const Json& result) override;

 private:
  InspectRequest request_;
  std::string groups_text_;
};

int64_t params_of(const Graph& graph, const Node& node) {
  int64_t count = 0;
  for (const auto& [role, name] : node.params) count += graph.parameter(name).count();
  return count;
}

// One row a node with weights; shape is that of the weight.
Json layers_of(const Graph& graph, int64_t tokens) {
  Json rows = Json::array();
  for (const Node& node : graph.nodes) {
    if (node.params.empty()) continue;
    const Cost cost = cost_of(graph, node);
    rows.push_back(
        {{"node", node.name},
         {"op", node.op},
         {"block", node.block},
         {"shape", node.has_param("weight") ? Json(graph.parameter_of(node, "weight").shape()) : Json(nullptr)},
         {"params", params_of(graph, node)},
         {"flops", cost.flops / static_cast<double>(tokens)},
         {"bytes", cost.weight_bytes}});
  }
  return rows;
}

Json blocks_of(const Graph& graph) {
  Json rows = Json::array();
  for (const BlockWidths& widths : block_widths(graph))
    rows.push_back({{"block", rows.size()},
                    {"heads", widths.heads},
                    {"kv_heads", widths.kv_heads},
                    {"head_size", widths.head_size},
                    {"ffn", widths.ffn_width}});
  return rows;
}

// What methods may remove, by granularity.
Json units_of(const Coupling& coupling, const Graph& graph) {
  std::map<std::string, int64_t> counts;
  for (const CouplingGroup& group : coupling.groups) counts[name_of(group.kind)] += group.set_count;
  int64_t weights = 0;
  for (const Node& node : graph.nodes)
    if (node.op == "Linear" && node.block >= 0 && node.block < graph.block_count)
      weights += graph.parameter_of(node, "weight").count();
  return {{"weights", weights},
          {"kv_groups", counts["heads"]},
          {"neurons", counts["neurons"]},
          {"residual_channels", counts["residual"]},
          {"sublayers", find_sublayers(graph).size()},
          {"layers", graph.block_count}};
}

Json InspectVerb::run() {
  const Model model = load_model(resolve_model(request_.model));
  const int64_t tokens = model.context_length;
  Graph graph = model.graph.clone();
  infer_shapes(graph, {{1, tokens}});
  const Size size = measure_size(graph, tokens);
  const Coupling coupling = find_coupling(model.graph);
  if (request_.groups) groups_text_ = describe_groups(coupling);
  Json result = {{"model", request_.model},       {"family", model.family->name},
          {"dtype", name_of(model.dtype)}, {"context", tokens},
          {"vocab", model.vocab_size},     {"params", size.params},
          {"flops", size.flops},           {"bytes", size.bytes},
          {"blocks", blocks_of(graph)},    {"units", units_of(coupling, graph)},
          {"layers", layers_of(graph, tokens)}};
  if (request_.groups) result["groups"] = groups_to_json(coupling);
  return result;
}

// Blocks that follow each other with the same widths share a row.
std::string block_table(const Json& blocks) {
  Table table({"blocks", "heads", "KV heads", "head size", "FFN"});
  for (size_t first = 0, next; first < blocks.size(); first = next) {
    Json widths = blocks[first];
    widths.erase("block");
    for (next = first + 1; next < blocks.size(); ++next) {
      Json other = blocks[next];
      other.erase("block");
      if (other != widths) break;
    }
    const auto range = next == first + 1 ? fmt::format("{}", first) : fmt::format("{}-{}", first, next - 1);
    table.add(
        {range, shown(widths["heads"]), shown(widths["kv_heads"]), shown(widths["head_size"]), shown(widths["ffn"])});
  }
  return table.str();
}

std::string layer_table(const Json& layers) {
  Table table({"node", "op", "shape", "parameters", "FLOPs/token", "bytes"});
  for (const Json& row : layers)
    table.add({shown(row["node"]), shown(row["op"]), row["shape"].is_null() ? "-" : row["shape"].dump(),
               human_count(row["params"].get<double>()), human_count(row["flops"].get<double>()),
               human_bytes(row["bytes"].get<uint64_t>())});
  return table.str();
}

std::string InspectVerb::text(const Json& result) {
  std::string text =
      fmt::format("{}: {} family, {} weights, context of {} tokens, vocabulary of {}\n", shown(result["model"]),
                  shown(result["family"]), shown(result["dtype"]), shown(result["context"]), shown(result["vocab"]));
  text += fmt::format("{} parameters, {} FLOPs a token, {}\n\n", human_count(result["params"].get<double>()),
                      human_count(result["flops"].get<double>()), human_bytes(result["bytes"].get<uint64_t>()));
  text += block_table(result["blocks"]) + "\nunits that can be removed:\n" + describe_object(result["units"], 2);
  if (request_.groups) text += "\n" + groups_text_;
  return request_.layers ? text + "\n" + layer_table(result["layers"]) : text;
}

InspectVerb inspect_verb;

}  // namespace
}  // namespace espalier
