// espalier inspect MODEL: what it is made of and what it costs.
#include <fmt/format.h>

#include <map>

#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/families/family.h"
#include "espalier/graph/node_kinds.h"
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
  for (const auto& [role, name] : node.params)
    if (!is_statistic(node, role)) count += graph.parameter(name).count();
  return count;
}

// One row a node with weights; shape is that of the weight.
Json layers_of(const Graph& graph, double per) {
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
         {"flops", cost.flops / per},
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
    if (is_matrix_layer(node) && (node.op != "Linear" || graph.block_count == 0 || (node.block >= 0 && node.block < graph.block_count)))
      weights += graph.parameter_of(node, "weight").count();
  return {{"weights", weights},
          {"kv_groups", counts["heads"]},
          {"neurons", counts["neurons"]},
          {"residual_channels", counts["residual"]},
          {"channels", counts["other"]},
          {"sublayers", find_sublayers(graph).size()},
          {"layers", graph.block_count}};
}

// What the model reads, in its own terms.
void add_data_facts(Json& result, const Model& model) {
  if (model.task == Task::kText) {
    result["context"] = model.context_length;
    result["vocab"] = model.vocab_size;
    return;
  }
  result["inputs"] = Json::array();
  for (size_t i = 0; i < model.graph.inputs.size(); ++i)
    result["inputs"].push_back({{"name", model.graph.values[static_cast<size_t>(model.graph.inputs[i])].name},
                                {"dtype", name_of(model.input_dtypes[i])},
                                {"shape", model.example_inputs[i]}});
  if (model.task == Task::kImages) result["classes"] = model.classes;
}

Json InspectVerb::run() {
  const Model model = load_model(resolve_model(request_.model), {request_.common.seed, request_.common.input_shapes});
  Graph graph = model.graph.clone();
  const auto shapes = costing_shapes(model);
  infer_shapes(graph, shapes);
  const Size size = model_size(model.graph, model);
  const Coupling coupling = find_coupling(model.graph);
  if (request_.groups) groups_text_ = describe_groups(coupling);
  Json result = {{"model", request_.model}, {"family", model.family_name()}, {"dtype", name_of(model.dtype)}, {"task", name_of(model.task)}};
  add_data_facts(result, model);
  result.update({{"params", size.params},
                 {"flops", size.flops},
                 {"bytes", size.bytes},
                 {"blocks", blocks_of(graph)},
                 {"units", units_of(coupling, graph)},
                 {"layers", layers_of(graph, model.task == Task::kText ? static_cast<double>(shapes[0][1]) : 1)}});
  if (!model.notes.empty()) result["not_understood"] = model.notes;
  if (!coupling.unknown_operators.empty()) result["block_cutting"] = coupling.unknown_operators;
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

std::string layer_table(const Json& layers, bool text_model) {
  Table table({"node", "op", "shape", "parameters", text_model ? "FLOPs/token" : "FLOPs", "bytes"});
  for (const Json& row : layers)
    table.add({shown(row["node"]), shown(row["op"]), row["shape"].is_null() ? "-" : row["shape"].dump(),
               human_count(row["params"].get<double>()), human_count(row["flops"].get<double>()),
               human_bytes(row["bytes"].get<uint64_t>())});
  return table.str();
}

std::string data_line(const Json& result) {
  if (result.contains("context")) return fmt::format("context of {} tokens, vocabulary of {}", shown(result["context"]), shown(result["vocab"]));
  std::vector<std::string> inputs;
  for (const Json& input : result["inputs"]) inputs.push_back(fmt::format("{} {} {}", shown(input["name"]), shown(input["dtype"]), input["shape"].dump()));
  const std::string read = fmt::format("reads {}", fmt::join(inputs, ", "));
  return result.contains("classes") ? fmt::format("{}, {} classes", read, shown(result["classes"])) : read;
}

std::string InspectVerb::text(const Json& result) {
  const bool text_model = result.contains("context");
  std::string text = fmt::format("{}: {} family, {} weights, {}\n", shown(result["model"]), shown(result["family"]), shown(result["dtype"]), data_line(result));
  text += fmt::format("{} parameters, {} FLOPs a {}, {}\n\n", human_count(result["params"].get<double>()), human_count(result["flops"].get<double>()),
                      text_model ? "token" : "forward", human_bytes(result["bytes"].get<uint64_t>()));
  if (!result["blocks"].empty()) text += block_table(result["blocks"]) + "\n";
  text += "units that can be removed:\n" + describe_object(result["units"], 2);
  for (const char* key : {"not_understood", "block_cutting"}) {
    if (!result.contains(key)) continue;
    text += key == std::string("block_cutting") ? "\noperators that block cutting across them:\n" : "\nnot understood, kept as it is:\n";
    for (const Json& line : result[key]) text += "  " + shown(line) + "\n";
  }
  if (request_.groups) text += "\n" + groups_text_;
  return request_.layers ? text + "\n" + layer_table(result["layers"], text_model) : text;
}

InspectVerb inspect_verb;

}  // namespace
}  // namespace espalier
