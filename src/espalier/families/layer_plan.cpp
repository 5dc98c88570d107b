#include "espalier/families/layer_plan.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {
namespace {

void check_heads(const LayerPlan& plan, const std::string& where) {
  if (plan.heads > 0 && plan.heads % plan.kv_heads != 0)
    throw UserError(where, "KV heads", fmt::format("a divisor of the {} heads", plan.heads),
                    fmt::format("{}", plan.kv_heads));
  if (plan.heads > 0 && plan.head_size == 0)
    throw UserError(where, "heads", "a divisor of the hidden size, or a head size", fmt::format("{}", plan.heads));
}

LayerPlan read_entry(const Json& entry, const LayerPlan& uniform, const std::string& place) {
  LayerPlan plan;
  plan.heads = json_int(entry, "heads", place, 0, 1 << 20);
  plan.kv_heads = json_int_or(entry, "kv_heads", place, plan.heads ? 1 : 0, plan.heads, plan.heads);
  plan.ffn = json_int(entry, "ffn", place, 0, 1 << 28);
  plan.head_size = json_int_or(entry, "head_size", place, 1, 1 << 16, uniform.head_size);
  plan.attention_scale = json_number_or(entry, "attention_scale", place, uniform.attention_scale);
  check_heads(plan, place);
  return plan;
}

Json describe_layers(const std::vector<BlockWidths>& widths, bool with_head_size) {
  Json layers = Json::array();
  for (const auto& width : widths) {
    layers.push_back({{"heads", width.heads}, {"kv_heads", width.kv_heads}, {"ffn", width.ffn_width}});
    if (with_head_size && width.attention) layers.back()["head_size"] = width.head_size;
  }
  return {{"format", 1}, {"layers", layers}};
}

}  // namespace

int64_t derived_head_size(int64_t hidden, int64_t heads) { return hidden % heads == 0 ? hidden / heads : 0; }

std::vector<LayerPlan> read_layer_plans(const Json& config, int64_t layers, const LayerPlan& uniform,
                                        const std::string& where) {
  const auto block = config.find("espalier");
  if (block == config.end()) {
    check_heads(uniform, where);
    return std::vector<LayerPlan>(static_cast<size_t>(layers), uniform);
  }
  const std::string at = where + ": espalier";
  if (!block->is_object()) throw UserError(where, "espalier", "an object", describe(*block));
  json_int(*block, "format", at, 1, 1);
  const auto list = block->find("layers");
  if (list == block->end() || !list->is_array() || static_cast<int64_t>(list->size()) != layers)
    throw UserError(at, "layers", fmt::format("a list of {} blocks", layers),
                    list == block->end() ? "nothing"
                    : list->is_array()   ? fmt::format("{}", list->size())
                                         : describe(*list));
  std::vector<LayerPlan> plans;
  for (const auto& entry : *list) {
    const std::string place = fmt::format("{}: layers[{}]", at, plans.size());
    if (!entry.is_object()) throw UserError(at, place, "an object", describe(entry));
    plans.push_back(read_entry(entry, uniform, place));
  }
  return plans;
}

bool is_uniform(const std::vector<BlockWidths>& widths) {
  return std::all_of(widths.begin(), widths.end(),
                     [&](const BlockWidths& width) { return width.attention && width.ffn && width == widths.front(); });
}

void write_widths(Json& config, const Graph& graph, const WidthKeys& keys, int64_t hidden) {
  const auto widths = block_widths(graph);
  auto set = [&](const std::string& key, int64_t value) {
    if (!key.empty()) config[key] = value;
  };
  set(keys.layers, graph.block_count);
  set(keys.hidden, hidden);
  const auto full =
      std::find_if(widths.begin(), widths.end(), [](const auto& width) { return width.attention && width.ffn; });
  const auto with_attention =
      std::find_if(widths.begin(), widths.end(), [](const auto& width) { return width.attention; });
  const auto with_ffn = std::find_if(widths.begin(), widths.end(), [](const auto& width) { return width.ffn; });
  const auto attention = full != widths.end() ? full : with_attention, ffn = full != widths.end() ? full : with_ffn;
  if (attention != widths.end()) {
    set(keys.heads, attention->heads);
    set(keys.kv_heads, attention->kv_heads);
    if (config.contains(keys.head_size) || attention->heads * attention->head_size != hidden)
      set(keys.head_size, attention->head_size);
  }
  if (ffn != widths.end()) set(keys.ffn, ffn->ffn_width);
  config.erase("espalier");
  const bool underived =
      keys.head_size.empty() && attention != widths.end() && attention->heads * attention->head_size != hidden;
  if (!is_uniform(widths) || underived) config["espalier"] = describe_layers(widths, keys.head_size.empty());
}

Json& layer_entries(Json& config, const Graph& graph) {
  if (!config.contains("espalier")) config["espalier"] = describe_layers(block_widths(graph), true);
  return config["espalier"]["layers"];
}

}  // namespace espalier
