// Every family reads what Hugging Face's own classes name, and refuses what does not belong to it.
#include "espalier/families/family.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "espalier/graph/operator.h"
#include "espalier/graph/sublayers.h"
#include "tests/families/reference_cases.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::set<std::string> tensor_names(const test::TinyModel& model) {
  std::set<std::string> names;
  for (const auto& spec : model.tensors) names.insert(spec.name);
  return names;
}

std::set<std::string> parameter_names(const Graph& graph) {
  std::set<std::string> names;
  for (const auto& parameter : graph.parameters()) names.insert(parameter->name());
  return names;
}

class FamilyOf : public ::testing::TestWithParam<const char*> {
 protected:
  test::TempDir dir_;
};

TEST_P(FamilyOf, UsesEveryTensorOnceAndInfersItsShapes) {
  Model model = test::load_tiny(dir_ / "m", GetParam());
  EXPECT_EQ(parameter_names(model.graph), tensor_names(test::tiny_model(GetParam(), {})));
  infer_shapes(model.graph, {{2, 7}});
  EXPECT_EQ(model.graph.values[static_cast<size_t>(model.graph.outputs[0])].shape, (Shape{2, 7, 31}));
  EXPECT_EQ(model.graph.block_count, 3);
  EXPECT_EQ(model.context_length, 64);
  EXPECT_EQ(model.vocab_size, 31);
}

TEST_P(FamilyOf, NamesATensorThatIsMissing) {
  auto tiny = test::tiny_model(GetParam(), {});
  auto gone = std::find_if(tiny.tensors.begin(), tiny.tensors.end(),
                           [](const auto& spec) { return spec.name.find(".1.") != std::string::npos; });
  const std::string name = gone->name;
  tiny.tensors.erase(gone);
  write_tiny(dir_ / "m", tiny);
  ESP_EXPECT_USER_ERROR(load_model(dir_ / "m"), fmt::format("needs the tensor '{}'", name));
}

TEST_P(FamilyOf, NamesATensorThatDoesNotBelong) {
  auto tiny = test::tiny_model(GetParam(), {});
  tiny.add("model.surprise.weight", {3});
  write_tiny(dir_ / "m", tiny);
  ESP_EXPECT_USER_ERROR(load_model(dir_ / "m"), "'model.surprise.weight' [3], which this architecture does not have");
}

TEST_P(FamilyOf, BlockPrefixNamesItsBlocks) {
  const Model model = test::load_tiny(dir_ / "m", GetParam());
  const std::string prefix = model.family->block_prefix(model.graph);
  ASSERT_NE(prefix.find("{}"), std::string::npos);
  const std::string first = prefix.substr(0, prefix.find("{}")) + "0.";
  for (const Node& node : model.graph.nodes) EXPECT_EQ(node.name.starts_with(first), node.block == 0) << node.name;
}

INSTANTIATE_TEST_SUITE_P(Types, FamilyOf,
                         ::testing::Values("llama", "mistral", "qwen2", "qwen3", "gpt2", "opt", "phi"));

// The names and shapes that transformers gives are those that the tiny models have.
TEST(TinyModels, HaveTheTensorsOfTransformers) {
  const auto cases = test::reference_cases();
  int compared = 0;
  for (const auto& reference : cases) {
    if (reference.name.find('_') != std::string::npos && reference.name != "llama_gqa" &&
        reference.name != "opt_norm_after_projected" && reference.name != "opt_plain_norms" &&
        reference.name != "phi_qk_norm_gqa")
      continue;
    const Json& config = reference.model.config;
    test::TinyOptions options;
    options.layers = 2;
    options.vocab = 29;
    options.kv_heads = config.value("num_key_value_heads", int64_t{4});
    options.head_size = config.value("head_dim", int64_t{8});
    options.tied = config.value("tie_word_embeddings", false);
    options.embed = config.value("word_embed_proj_dim", int64_t{0});
    options.norm_first = config.value("do_layer_norm_before", true);
    options.qk_norm = config.value("qk_layernorm", false);
    for (const char* key : {"enable_bias", "layer_norm_elementwise_affine"})
      if (config.contains(key)) options.config[key] = config[key];
    const std::string type = config.at("model_type");
    if (type == "gpt2") options.ffn = 128;
    std::map<std::string, Shape> expected, found;
    for (const auto& spec : reference.model.tensors) expected[spec.name] = spec.shape;
    for (const auto& spec : test::tiny_model(type, options).tensors) found[spec.name] = spec.shape;
    EXPECT_EQ(found, expected) << reference.name;
    ++compared;
  }
  EXPECT_EQ(compared, 9);
}

class FamilyDetails : public ::testing::Test {
 protected:
  test::TempDir dir_;
};

TEST_F(FamilyDetails, Gpt2WithAndWithoutPrefixAndItsOldBuffers) {
  for (const char* prefix : {"none", "transformer."}) {
    test::TinyOptions options;
    options.prefix = prefix;
    auto tiny = test::tiny_gpt2(options);
    const std::string at = std::string(prefix) == "none" ? "" : prefix;
    tiny.add(at + "h.0.attn.bias", {1, 1, 64, 64});
    tiny.add(at + "h.0.attn.masked_bias", {1});
    tiny.add("lm_head.weight", {31, 32});
    write_tiny(dir_ / prefix, tiny);
    const Model model = load_model(dir_ / prefix);
    EXPECT_FALSE(model.graph.has_parameter(at + "h.0.attn.bias"));
    EXPECT_FALSE(model.graph.has_parameter("lm_head.weight"));
    EXPECT_EQ(model.graph.node("lm_head").params.at("weight"), at + "wte.weight");
    EXPECT_EQ(model.family->block_prefix(model.graph), at + "h.{}.");
  }
}

TEST_F(FamilyDetails, Gpt2AttentionScales) {
  test::TinyOptions options;
  auto scale_of = [&](const Json& config, int block) {
    options.config = config;
    return test::load_tiny(dir_ / "m", "gpt2", options)
        .graph.node(fmt::format("transformer.h.{}.attn.attention", block))
        .real("scale");
  };
  EXPECT_DOUBLE_EQ(scale_of(Json::object(), 2), 1 / std::sqrt(8.0));
  EXPECT_DOUBLE_EQ(scale_of({{"scale_attn_weights", false}}, 2), 1);
  EXPECT_DOUBLE_EQ(scale_of({{"scale_attn_by_inverse_layer_idx", true}}, 2), 1 / std::sqrt(8.0) / 3);
}

TEST_F(FamilyDetails, Gpt2InnerWidthDefaultsToFourTimesHidden) {
  test::TinyOptions options;
  options.ffn = 128;
  const Model model = test::load_tiny(dir_ / "m", "gpt2", options);
  EXPECT_TRUE(model.config.at("n_inner").is_null());
  EXPECT_EQ(block_widths(model.graph)[0].ffn_width, 128);
}

TEST_F(FamilyDetails, OptPrefixesAndProjections) {
  for (const char* prefix : {"model.decoder.", "decoder."}) {
    test::TinyOptions options;
    options.prefix = prefix;
    options.embed = 16;
    const Model model = test::load_tiny(dir_ / prefix, "opt", options);
    EXPECT_EQ(model.family->block_prefix(model.graph), std::string(prefix) + "layers.{}.");
    EXPECT_EQ(model.graph.node(std::string(prefix) + "embed_positions").integer("offset"), 2);
    EXPECT_EQ(model.graph.parameter(std::string(prefix) + "project_in.weight").shape(), (Shape{32, 16}));
  }
}

TEST_F(FamilyDetails, QwenWindowsBeginAtALayerOrFollowAList) {
  auto windows = [&](const Json& config) {
    test::TinyOptions options;
    options.config = config;
    const Model model = test::load_tiny(dir_ / "m", "qwen2", options);
    std::vector<int64_t> found;
    for (const Node& node : model.graph.nodes)
      if (node.op == "Attention") found.push_back(node.integer("window"));
    return found;
  };
  using Windows = std::vector<int64_t>;
  EXPECT_EQ(windows({{"sliding_window", 5}}), (Windows{0, 0, 0}));  // not used unless asked for
  EXPECT_EQ(windows({{"use_sliding_window", true}, {"sliding_window", 5}, {"max_window_layers", 1}}),
            (Windows{0, 5, 5}));
  EXPECT_EQ(windows({{"use_sliding_window", true}, {"sliding_window", 5}}), (Windows{0, 0, 0}));  // from block 28 on
  EXPECT_EQ(windows({{"use_sliding_window", true},
                     {"sliding_window", 5},
                     {"layer_types", {"sliding_attention", "full_attention", "sliding_attention"}}}),
            (Windows{5, 0, 5}));
}

TEST_F(FamilyDetails, AbsentKeysMeanTheArchitecturesDefaults) {
  test::TinyOptions options;
  options.head_size = 128;
  auto qwen3 = test::tiny_llama(options, "qwen3");
  qwen3.config.erase("head_dim");
  test::write_tiny(dir_ / "qwen3", qwen3);
  EXPECT_EQ(block_widths(load_model(dir_ / "qwen3").graph)[0].head_size, 128);
  const auto mistral_window = [&](const Json& config) {
    test::TinyOptions with;
    with.config = config;
    return test::load_tiny(dir_ / "mistral", "mistral", with)
        .graph.node("model.layers.0.self_attn.attention")
        .integer("window");
  };
  EXPECT_EQ(mistral_window(Json::object()), 4096);
  EXPECT_EQ(mistral_window({{"sliding_window", nullptr}}), 0);
  EXPECT_EQ(mistral_window({{"sliding_window", 7}}), 7);
}

TEST_F(FamilyDetails, PhiRotatesAPartOfEachHead) {
  test::TinyOptions options;
  options.config = {{"partial_rotary_factor", 0.25}};
  const Model model = test::load_tiny(dir_ / "m", "phi", options);
  const auto& frequencies = std::get<std::vector<double>>(
      model.graph.node("model.layers.0.self_attn.q_rotary").attributes.at("inverse_frequency"));
  EXPECT_EQ(frequencies, (std::vector<double>{1}));  // 2 of 8 channels, one pair
}

TEST_F(FamilyDetails, DirectoriesThatAreNoModels) {
  ESP_EXPECT_USER_ERROR(load_model(dir_ / "nowhere"), "there is no such model directory");
  std::filesystem::create_directory(dir_ / "empty");
  ESP_EXPECT_USER_ERROR(load_model(dir_ / "empty"), "has no config.json");
}

}  // namespace
}  // namespace espalier
