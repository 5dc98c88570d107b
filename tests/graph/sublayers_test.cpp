#include "espalier/graph/sublayers.h"

#include <set>

#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::set<std::string> node_names(const Graph& graph, const SubLayer& sublayer) {
  std::set<std::string> names;
  for (NodeId n : sublayer.nodes) names.insert(graph.nodes[static_cast<size_t>(n)].name);
  return names;
}

class SubLayersOfFamily : public ::testing::TestWithParam<const char*> {};

TEST_P(SubLayersOfFamily, TwoABlockInScanOrder) {
  const test::TempDir dir;
  test::TinyOptions options;
  if (std::string(GetParam()) == "gpt2" || std::string(GetParam()) == "opt") options.kv_heads = 4;
  const Model model = test::load_tiny(dir / "m", GetParam(), options);
  const auto found = find_sublayers(model.graph);
  ASSERT_EQ(found.size(), 6u);
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].block, static_cast<int>(i / 2));
    EXPECT_EQ(found[i].kind, i % 2 == 0 ? SubLayer::Kind::kAttention : SubLayer::Kind::kFfn);
    EXPECT_EQ(found[i].attention.has_value(), i % 2 == 0);
  }
  for (const auto& widths : block_widths(model.graph))
    EXPECT_EQ(widths, (BlockWidths{true, true, 4, options.kv_heads, 8, 48}));
}

INSTANTIATE_TEST_SUITE_P(Families, SubLayersOfFamily,
                         ::testing::Values("llama", "mistral", "qwen2", "qwen3", "gpt2", "opt", "phi"));

TEST(SubLayers, ABranchHoldsItsNormAndProjections) {
  const test::TempDir dir;
  const Model model = test::load_tiny(dir / "m", "llama");
  const auto found = find_sublayers(model.graph);
  const std::string at = "model.layers.0.";
  EXPECT_EQ(node_names(model.graph, found[0]),
            (std::set<std::string>{at + "input_layernorm", at + "self_attn.q_proj", at + "self_attn.k_proj",
                                   at + "self_attn.v_proj", at + "self_attn.q_rotary", at + "self_attn.k_rotary",
                                   at + "self_attn.attention", at + "self_attn.o_proj"}));
  EXPECT_EQ(node_names(model.graph, found[1]),
            (std::set<std::string>{at + "post_attention_layernorm", at + "mlp.gate_proj", at + "mlp.up_proj",
                                   at + "mlp.act", at + "mlp.product", at + "mlp.down_proj"}));
}

TEST(SubLayers, ParallelBranchesShareTheirNorm) {
  const test::TempDir dir;
  const Model model = test::load_tiny(dir / "m", "phi");
  const auto found = find_sublayers(model.graph);
  for (const auto& sublayer : found)
    EXPECT_EQ(node_names(model.graph, sublayer).count("model.layers.0.input_layernorm"), 0u);
  EXPECT_EQ(model.graph.nodes[static_cast<size_t>(found[1].add)].inputs[0],
            model.graph.nodes[static_cast<size_t>(found[0].add)].outputs[0]);
}

TEST(SubLayers, NormsAfterTheSumBelongToNoBranch) {
  const test::TempDir dir;
  test::TinyOptions options;
  options.norm_first = false;
  const Model model = test::load_tiny(dir / "m", "opt", options);
  const auto found = find_sublayers(model.graph);
  ASSERT_EQ(found.size(), 6u);
  EXPECT_EQ(node_names(model.graph, found[1]),
            (std::set<std::string>{"model.decoder.layers.0.fc1", "model.decoder.layers.0.act",
                                   "model.decoder.layers.0.fc2"}));
}

}  // namespace
}  // namespace espalier
