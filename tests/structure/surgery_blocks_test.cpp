// Sub-layers and blocks removed: rewiring, renumbering, dead nodes.
#include <set>

#include "espalier/families/builder.h"
#include "espalier/structure/surgery.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

class Blocks : public ::testing::Test {
 protected:
  Model load(const std::string& type, test::TinyOptions options = {}) {
    if (type == "gpt2" || type == "opt") options.kv_heads = options.heads;
    return test::load_tiny(dir_ / fmt::format("m{}", ++count_), type, options);
  }
  static std::string prefix(const Model& model) { return model.family->block_prefix(model.graph); }
  static BlockMap remove(Model& model, const std::vector<size_t>& indices) {
    const auto all = find_sublayers(model.graph);
    std::vector<SubLayer> chosen;
    for (size_t i : indices) chosen.push_back(all.at(i));
    return remove_sublayers(model.graph, chosen, prefix(model));
  }
  static std::vector<std::string> summary(const Graph& graph) {
    std::vector<std::string> found;
    for (const auto& sublayer : find_sublayers(graph))
      found.push_back(fmt::format("{}{}", sublayer.block, name_of(sublayer.kind)));
    return found;
  }
  static std::set<std::string> names_with(const Graph& graph, const std::string& part) {
    std::set<std::string> names;
    for (const auto& parameter : graph.parameters())
      if (parameter->name().find(part) != std::string::npos) names.insert(parameter->name());
    return names;
  }

  test::TempDir dir_;
  int count_ = 0;
};

using Names = std::vector<std::string>;

TEST_F(Blocks, ABranchGoesWithItsNormAndParameters) {
  Model model = load("llama");
  const BlockMap map = remove(model, {2});  // attention of block 1
  EXPECT_EQ(map, (BlockMap{0, 1, 2}));
  EXPECT_EQ(summary(model.graph), (Names{"0attn", "0ffn", "1ffn", "2attn", "2ffn"}));
  EXPECT_TRUE(names_with(model.graph, "layers.1.self_attn").empty());
  EXPECT_FALSE(model.graph.has_parameter("model.layers.1.input_layernorm.weight"));
  EXPECT_TRUE(model.graph.has_parameter("model.layers.1.post_attention_layernorm.weight"));
  EXPECT_EQ(block_widths(model.graph)[1], (BlockWidths{false, true, 0, 0, 0, 48}));
  // the MLP of block 1 now reads what left block 0
  const auto sublayers = find_sublayers(model.graph);
  EXPECT_EQ(sublayers[2].residual, model.graph.nodes[static_cast<size_t>(sublayers[1].add)].outputs[0]);
}

TEST_F(Blocks, ABlockWithoutBranchesGoesAndTheOthersAreRenumbered) {
  Model model = load("llama");
  const Tensor last = model.graph.parameter("model.layers.2.mlp.up_proj.weight").load();
  const BlockMap map = remove(model, {2, 3, 5});  // all of block 1, the MLP of block 2
  EXPECT_EQ(map, (BlockMap{0, -1, 1}));
  EXPECT_EQ(model.graph.block_count, 2);
  EXPECT_EQ(summary(model.graph), (Names{"0attn", "0ffn", "1attn"}));
  EXPECT_TRUE(names_with(model.graph, "layers.2.").empty());
  EXPECT_EQ(names_with(model.graph, "layers.1.").size(), 5u);
  EXPECT_EQ(model.graph.node("model.layers.1.self_attn.attention").block, 1);
  EXPECT_EQ(model.graph.node("model.norm").block, 2);
}

TEST_F(Blocks, RenumberingCrossesTheTenthBlock) {
  test::TinyOptions options;
  options.layers = 12;
  for (const char* type : {"llama", "gpt2"}) {
    Model model = load(type, options), dense = load(type, options);
    const BlockMap map = remove_blocks(model.graph, {2, 9, 0}, prefix(model));
    EXPECT_EQ(map, (BlockMap{-1, 0, -1, 1, 2, 3, 4, 5, 6, -1, 7, 8}));
    EXPECT_EQ(model.graph.block_count, 9);
    for (int old = 0; old < 12; ++old) {
      if (map[static_cast<size_t>(old)] < 0) continue;
      const std::string from = prefix(model), to = from;
      for (const auto& name : names_with(dense.graph, block_name(from, old))) {
        const std::string now =
            block_name(to, map[static_cast<size_t>(old)]) + name.substr(block_name(from, old).size());
        EXPECT_EQ(model.graph.parameter(now).load().to_floats(), dense.graph.parameter(name).load().to_floats())
            << name << " as " << now;
      }
    }
    EXPECT_EQ(find_sublayers(model.graph).size(), 18u);
  }
}

TEST_F(Blocks, BlocksAreTheirBranchesInPreNormModels) {
  for (const char* type : {"llama", "gpt2", "opt", "phi"}) {
    Model branches = load(type), blocks = load(type);
    remove(branches, {2, 3});
    remove_blocks(blocks.graph, {1}, prefix(blocks));
    ASSERT_EQ(branches.graph.nodes.size(), blocks.graph.nodes.size()) << type;
    for (size_t i = 0; i < branches.graph.nodes.size(); ++i)
      EXPECT_EQ(branches.graph.nodes[i].name, blocks.graph.nodes[i].name);
    ASSERT_EQ(branches.graph.parameters().size(), blocks.graph.parameters().size());
  }
}

TEST_F(Blocks, ASharedNormGoesWithTheSecondBranch) {
  Model model = load("phi");
  remove(model, {0});
  EXPECT_TRUE(model.graph.has_parameter("model.layers.0.input_layernorm.weight"));
  EXPECT_EQ(summary(model.graph), (Names{"0ffn", "1attn", "1ffn", "2attn", "2ffn"}));
  remove(model, {0});
  EXPECT_EQ(model.graph.block_count, 2);
  EXPECT_EQ(names_with(model.graph, "input_layernorm.weight").size(), 2u);
}

TEST_F(Blocks, NormsOnTheStreamStayUntilTheBlockGoes) {
  test::TinyOptions options;
  options.norm_first = false;
  Model branches = load("opt", options), blocks = load("opt", options);
  EXPECT_EQ(remove(branches, {2, 3}), (BlockMap{0, 1, 2}));
  EXPECT_EQ(branches.graph.block_count, 3);
  EXPECT_EQ(names_with(branches.graph, "layers.1.").size(), 4u);  // two norms
  EXPECT_EQ(remove_blocks(blocks.graph, {1}, prefix(blocks)), (BlockMap{0, -1, 1}));
  EXPECT_EQ(names_with(blocks.graph, "layers.1.").size(), 16u);
}

TEST_F(Blocks, TheFirstAndTheLastBlockMayGo) {
  Model model = load("llama");
  remove_blocks(model.graph, {0, 2}, prefix(model));
  EXPECT_EQ(model.graph.block_count, 1);
  EXPECT_EQ(summary(model.graph), (Names{"0attn", "0ffn"}));
  EXPECT_EQ(find_sublayers(model.graph)[0].residual, model.graph.node("model.embed_tokens").outputs[0]);
}

TEST_F(Blocks, NothingMayBeLeftEmpty) {
  Model model = load("llama");
  ESP_EXPECT_USER_ERROR(remove_blocks(model.graph, {0, 1, 2}, prefix(model)), "removing 3 blocks would leave none");
  ESP_EXPECT_USER_ERROR(remove_blocks(model.graph, {3}, prefix(model)), "expected 0 to 2, found 3");
  ESP_EXPECT_USER_ERROR(remove(model, {0, 1, 2, 3, 4, 5}), "would leave no block");
  EXPECT_EQ(summary(model.graph).size(), 6u);
}

TEST_F(Blocks, TiedEmbeddingsAndCutsSurvive) {
  test::TinyOptions options;
  options.tied = true;
  Model model = load("llama", options);
  const Coupling coupling = find_coupling(model.graph);
  cut(model.graph, coupling, coupling.find("blocks.2.neurons")->id, {0, 7});
  remove_blocks(model.graph, {0}, prefix(model));
  EXPECT_EQ(model.graph.parameter("model.layers.1.mlp.up_proj.weight").shape(), (Shape{2, 32}));
  EXPECT_EQ(model.graph.node("lm_head").params.at("weight"), "model.embed_tokens.weight");
  EXPECT_EQ(find_coupling(model.graph).find("blocks.1.neurons")->set_count, 2);
}

TEST_F(Blocks, ZeroedBranchesKeepTheirShapes) {
  test::TinyOptions options;
  options.dtype = DType::kBF16;
  Model model = load("gpt2", options);
  const auto sublayers = find_sublayers(model.graph);
  zero_sublayers(model.graph, {sublayers[3]});
  const auto& weight = model.graph.parameter("transformer.h.1.mlp.c_proj.weight");
  EXPECT_EQ(weight.shape(), (Shape{48, 32}));
  EXPECT_EQ(weight.dtype(), DType::kBF16);
  EXPECT_EQ(weight.load().to_floats(), std::vector<float>(48 * 32, 0.f));
  EXPECT_EQ(model.graph.parameter("transformer.h.1.mlp.c_proj.bias").load().to_floats(), std::vector<float>(32, 0.f));
  EXPECT_NE(model.graph.parameter("transformer.h.0.mlp.c_proj.bias").load().to_floats(), std::vector<float>(32, 0.f));
  EXPECT_EQ(summary(model.graph).size(), 6u);
}

}  // namespace
}  // namespace espalier
