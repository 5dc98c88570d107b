// Configurations of every family, damaged: bytes at random, and single values replaced by others.
#include "tests/fuzz/config_fuzz.h"

#include <gtest/gtest.h>

#include "tests/fuzz/runner.h"

namespace espalier::fuzz {
namespace {

bool accepts(const std::string& text) { return fuzz_config(reinterpret_cast<const uint8_t*>(text.data()), text.size()); }

std::vector<Json> seed_configs() {
  std::vector<Json> configs;
  for (const auto& type : config_types()) configs.push_back(test::tiny_model(type, config_options(type)).config);
  return configs;
}

TEST(ConfigFuzz, BytesAtRandom) {
  std::vector<std::string> seeds;
  for (const auto& config : seed_configs()) seeds.push_back(config.dump());
  keep_seeds(seeds);
  for (const auto& seed : seeds) EXPECT_TRUE(accepts(seed)) << seed;
  Rng rng(1, "config bytes");
  int accepted = 0;
  for (int i = 0; i < 6000; ++i) {
    const std::string text = damaged(seeds, rng);
    ASSERT_NO_THROW(accepted += accepts(text)) << text;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 5000);
}

TEST(ConfigFuzz, OneValueOfEachKeyReplaced) {
  const std::vector<Json> values{0,
                                 -1,
                                 1,
                                 2,
                                 3,
                                 8,
                                 64,
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
                                 Json::array(),
                                 Json::array({1, 2}),
                                 Json::object(),
                                 Json::object({{"rope_type", "yarn"}, {"factor", 1e-300}})};
  const std::vector<std::string> more{"head_dim",
                                      "rope_scaling",
                                      "rope_parameters",
                                      "layer_types",
                                      "sliding_window",
                                      "use_sliding_window",
                                      "max_window_layers",
                                      "espalier",
                                      "attention_bias",
                                      "mlp_bias",
                                      "tie_word_embeddings",
                                      "enable_bias",
                                      "scale_attn_weights",
                                      "scale_attn_by_inverse_layer_idx",
                                      "layer_norm_elementwise_affine",
                                      "_remove_final_layer_norm",
                                      "auto_map",
                                      "qk_layernorm",
                                      "partial_rotary_factor"};
  int accepted = 0, refused = 0;
  for (const Json& config : seed_configs()) {
    auto keys = more;
    for (const auto& [key, value] : config.items()) keys.push_back(key);
    for (const auto& key : keys)
      for (const Json& value : values) {
        Json changed = config;
        changed[key] = value;
        ASSERT_NO_THROW(accepts(changed.dump()) ? ++accepted : ++refused) << changed.dump();
      }
  }
  EXPECT_GT(accepted, 500);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace espalier::fuzz
