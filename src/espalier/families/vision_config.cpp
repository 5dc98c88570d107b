#include "espalier/families/vision_config.h"

#include <optional>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr int64_t kMostSide = 1 << 14, kMostChannels = 1 << 12, kMostClasses = 1 << 24;
constexpr size_t kMostEntries = 4096;

// Depthwise ones have the width of what comes in, so nothing has to be said of them.
bool has_width_of_its_own(const Graph& graph, const Node& node) {
  if (node.op == "Linear") return true;
  const int64_t group = node.op == "Conv" ? node.integer_or("group", 1) : 1;
  return node.op == "Conv" && (group == 1 || graph.parameter_of(node, "weight").shape()[1] != 1);
}

}  // namespace

PictureShape picture_shape(const Json& config, const std::string& where, int64_t side) {
  PictureShape shape;
  shape.channels = json_int_or(config, "num_channels", where, 1, kMostChannels, 3);
  shape.height = shape.width = side;
  const auto size = config.find("image_size");
  if (size == config.end()) return shape;
  if (size->is_array()) {
    const auto sides = json_int_list(config, "image_size", where, 1, kMostSide, 2, {});
    shape.height = sides[0];
    shape.width = sides[1];
  } else {
    shape.height = shape.width = json_int(config, "image_size", where, 1, kMostSide);
  }
  return shape;
}

int64_t class_count(const Json& config, const std::string& where, int64_t otherwise) {
  for (const char* key : {"num_labels", "num_classes"})
    if (config.contains(key)) return json_int(config, key, where, 1, kMostClasses);
  const auto names = config.find("id2label");
  if (names == config.end() || names->is_null()) return otherwise;
  if (!names->is_object() || names->empty())
    throw UserError(where, "id2label", "an object of class names", describe(*names));
  return std::ssize(*names);
}

std::vector<int64_t> json_int_list(const Json& config, const std::string& key, const std::string& where, int64_t low,
                                   int64_t high, size_t count, const std::vector<int64_t>& otherwise) {
  const auto list = config.find(key);
  if (list == config.end()) {
    if (otherwise.empty()) throw UserError(where, key, "a list of integers", "nothing");
    return otherwise;
  }
  const bool fits =
      list->is_array() && (count ? list->size() == count : !list->empty() && list->size() <= kMostEntries);
  if (!fits)
    throw UserError(
        where, key,
        count ? fmt::format("a list of {} integers", count) : fmt::format("a list of 1 to {} integers", kMostEntries),
        list->is_array() ? fmt::format("{} entries", list->size()) : describe(*list));
  std::vector<int64_t> values;
  for (const Json& entry : *list)  // an object of one member, so that the one rule for integers holds here too
    values.push_back(json_int(Json{{key, entry}}, key, where, low, high));
  return values;
}

Json image_facts(const std::vector<double>& mean, const std::vector<double>& std, double divisor, bool bgr,
                 int64_t resize) {
  Json facts = {{"divisor", divisor}};
  if (!mean.empty()) facts["mean"] = mean;
  if (!std.empty()) facts["std"] = std;
  if (bgr) facts["bgr"] = true;
  if (resize > 0) facts["resize"] = resize;
  return facts;
}

Json imagenet_image_facts(int64_t resize) {
  return image_facts({0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}, 255, false, resize);
}

Json& espalier_block(Json& config) {
  if (!config.contains("espalier")) config["espalier"] = {{"format", 1}};
  return config["espalier"];
}

void write_module_widths(Json& config, const Graph& graph, const Graph* stock) {
  config.erase("espalier");
  Json widths = Json::object();
  for (const Node& node : graph.nodes) {
    if (!has_width_of_its_own(graph, node)) continue;
    const std::string& weight = node.params.at("weight");
    const int64_t width = graph.parameter(weight).shape().at(0);
    if (!stock || !stock->has_parameter(weight) || stock->parameter(weight).shape().at(0) != width)
      widths[node.name] = width;
  }
  if (!widths.empty()) espalier_block(config)["widths"] = widths;
}

void write_module_widths(Json& config, const Graph& graph,
                         Graph (*fresh)(const Json& config, uint64_t seed, const std::string& where)) {
  config.erase("espalier");
  std::optional<Graph> stock;
  try {
    stock = fresh(config, 0, "config.json");
  } catch (const UserError&) {  // too little is stated to build from it alone
  }
  write_module_widths(config, graph, stock ? &*stock : nullptr);
}

std::string no_blocks(const Graph&) { return "\n{}."; }

bool is_framework_buffer(const std::string& tensor) {
  return tensor.ends_with(".num_batches_tracked") || tensor.ends_with(".position_ids") ||
         tensor.ends_with(".relative_position_index") || tensor.ends_with(".attn_mask");
}

}  // namespace espalier
