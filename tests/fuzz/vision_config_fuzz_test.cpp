// Configurations of vision models and BERTs with single values replaced by others: with good weights and with fresh
// ones they give a graph that holds together and can be written, or one line of UserError.
#include <gtest/gtest.h>

#include "tests/families/vision_models.h"
#include "tests/fuzz/targets.h"
#include "tests/support.h"

namespace espalier::fuzz {
namespace {

// True when the configuration is accepted.
bool try_config(const Json& config, const Checkpoint& weights) {
  return accepts([&] {
    const Family& family = find_family(json_string(config, "model_type", "fuzz"), "fuzz");
    Graph graph = family.build(config, weights, "fuzz");
    ESP_ASSERT(accepts([&] { infer_shapes(graph, input_shapes(graph)); }), "the graph does not hold together");
    Json written = config;
    family.write_config(written, graph);
    ESP_ASSERT(accepts([&] {
                 const Graph again = family.build(written, weights, "fuzz");
                 ESP_ASSERT(again.nodes.size() == graph.nodes.size(), "another model");
               }),
               "the written configuration is refused: {}", written.dump());
  });
}

bool try_fresh(const Json& config) {
  return accepts([&] { find_family(json_string(config, "model_type", "fuzz"), "fuzz").fresh(config, 0, "fuzz"); });
}

const std::vector<Json>& values() {
  static const std::vector<Json> list{0,
                                      -1,
                                      1,
                                      2,
                                      3,
                                      7,
                                      64,
                                      4096,
                                      INT32_MAX,
                                      INT64_MAX,
                                      UINT64_MAX,
                                      0.5,
                                      1e300,
                                      -0.0,
                                      true,
                                      false,
                                      nullptr,
                                      "",
                                      "x",
                                      "A",
                                      "bottleneck",
                                      "relu",
                                      "timm",
                                      "deepscale",
                                      "1.0",
                                      Json::array(),
                                      Json::array({1, 2}),
                                      Json::array({3, 3, 3}),
                                      Json::array({"M"}),
                                      Json::array({Json::array({1, 2, 3, 4})}),
                                      Json::object(),
                                      Json::object({{"format", 1}}),
                                      Json::object({{"format", 1}, {"layers", Json::array()}}),
                                      Json::object({{"format", 1}, {"head_size", 2}})};
  return list;
}

TEST(VisionConfigFuzz, OneValueOfEachKeyReplaced) {
  const test::TempDir dir;
  const std::vector<std::string> more{
      "espalier",    "num_channels", "image_size",      "patch_size",     "layout",        "strides",
      "stem_width",  "groups",       "width_per_group", "width_mult",     "classifier_at", "classifier_stride",
      "pooled_size", "qkv_bias",     "attention_scale", "layer_norm_eps", "id2label",      "type_vocab_size"};
  int accepted = 0, refused = 0;
  for (const auto& [name, config] : test::tiny_vision_configs()) {
    const Model model = test::load_tiny_vision(dir / name, config);
    ASSERT_TRUE(try_config(config, *model.checkpoint)) << name;
    auto keys = more;
    for (const auto& [key, value] : config.items())
      if (key != "model_type") keys.push_back(key);
    for (const auto& key : keys)
      for (const Json& value : values()) {
        Json changed = config;
        changed[key] = value;
        ASSERT_NO_THROW(try_config(changed, *model.checkpoint) ? ++accepted : ++refused) << changed.dump();
        ASSERT_NO_THROW(try_fresh(changed) ? ++accepted : ++refused) << changed.dump();
      }
  }
  EXPECT_GT(accepted, 5000);
  EXPECT_GT(refused, 10000);
}

}  // namespace
}  // namespace espalier::fuzz
