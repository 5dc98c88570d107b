#include "espalier/structure/surgery.h"

#include "espalier/graph/operator.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

class Surgery : public ::testing::Test {
 protected:
  Model load(const std::string& type, int64_t kv_heads = 2, int64_t heads = 4) {
    test::TinyOptions options;
    options.heads = heads;
    options.head_size = options.hidden / heads;
    options.kv_heads = type == "gpt2" || type == "opt" ? heads : kv_heads;
    return test::load_tiny(dir_ / fmt::format("{}-{}-{}", type, heads, kv_heads), type, options);
  }
  static Shape shape(const Model& model, const std::string& name) { return model.graph.parameter(name).shape(); }
  static int id(const Coupling& coupling, const std::string& label) { return coupling.find(label)->id; }

  test::TempDir dir_;
};

// [axis][index] of the dense tensor, computed apart from Parameter::cut
std::vector<float> selected(const Tensor& tensor, const std::vector<int64_t>& rows,
                            const std::vector<int64_t>& columns) {
  const auto values = tensor.to_floats();
  std::vector<float> result;
  for (int64_t row : rows)
    for (int64_t column : columns) result.push_back(values[static_cast<size_t>(row * tensor.dim(1) + column)]);
  return result;
}

std::vector<int64_t> range(int64_t from, int64_t to) {
  std::vector<int64_t> indices;
  for (int64_t i = from; i < to; ++i) indices.push_back(i);
  return indices;
}

TEST_F(Surgery, CutsAKvGroupLazilyAndExactly) {
  Model model = load("llama");
  const std::string at = "model.layers.1.self_attn.";
  const Tensor dense_q = model.graph.parameter(at + "q_proj.weight").load(),
               dense_o = model.graph.parameter(at + "o_proj.weight").load();
  const Coupling coupling = find_coupling(model.graph);
  cut(model.graph, coupling, id(coupling, "blocks.1.heads"), {1});
  EXPECT_EQ(shape(model, at + "q_proj.weight"), (Shape{16, 32}));
  EXPECT_EQ(shape(model, at + "k_proj.weight"), (Shape{8, 32}));
  EXPECT_EQ(shape(model, at + "v_proj.weight"), (Shape{8, 32}));
  EXPECT_EQ(shape(model, at + "o_proj.weight"), (Shape{32, 16}));
  EXPECT_EQ(shape(model, "model.layers.0.self_attn.q_proj.weight"), (Shape{32, 32}));
  const auto& q = model.graph.parameter(at + "q_proj.weight");
  EXPECT_TRUE(q.is_cut());
  EXPECT_EQ(q.source().bytes(), dense_q.bytes());  // nothing was copied
  EXPECT_EQ(q.load().to_floats(), selected(dense_q, range(16, 32), range(0, 32)));
  EXPECT_EQ(model.graph.parameter(at + "o_proj.weight").load().to_floats(),
            selected(dense_o, range(0, 32), range(16, 32)));
  EXPECT_EQ(block_widths(model.graph)[1], (BlockWidths{true, true, 2, 1, 8, 48}));
}

TEST_F(Surgery, CutsSeveralGroupsAtOnceAndOneByOne) {
  Model together = load("llama"), apart = load("llama");
  const Coupling coupling = find_coupling(together.graph);
  const std::vector<GroupCut> cuts{{id(coupling, "residual"), range(4, 28)},
                                   {id(coupling, "blocks.0.heads"), {0}},
                                   {id(coupling, "blocks.2.neurons"), {1, 5, 47}}};
  cut(together.graph, coupling, cuts);
  for (const auto& [group, kept] : cuts) cut(apart.graph, coupling, group, kept);
  EXPECT_EQ(shape(together, "model.layers.0.self_attn.q_proj.weight"), (Shape{16, 24}));
  EXPECT_EQ(shape(together, "model.layers.2.mlp.down_proj.weight"), (Shape{24, 3}));
  EXPECT_EQ(shape(together, "lm_head.weight"), (Shape{31, 24}));
  EXPECT_EQ(shape(together, "model.norm.weight"), (Shape{24}));
  for (const auto& parameter : together.graph.parameters())
    EXPECT_EQ(parameter->load().to_floats(), apart.graph.parameter(parameter->name()).load().to_floats())
        << parameter->name();
}

TEST_F(Surgery, RewritesTheSizesOfASplit) {
  Model model = load("gpt2");
  const Tensor dense = model.graph.parameter("transformer.h.0.attn.c_attn.weight").load();
  const Coupling coupling = find_coupling(model.graph);
  cut(model.graph, coupling, id(coupling, "blocks.0.heads"), {0, 2, 3});
  const auto split_sizes = [&](int block) {
    return model.graph.node(fmt::format("transformer.h.{}.attn.qkv", block)).integers("sizes");
  };
  EXPECT_EQ(split_sizes(0), (std::vector<int64_t>{24, 24, 24}));
  EXPECT_EQ(split_sizes(1), (std::vector<int64_t>{32, 32, 32}));
  EXPECT_EQ(shape(model, "transformer.h.0.attn.c_attn.weight"), (Shape{32, 72}));
  EXPECT_EQ(shape(model, "transformer.h.0.attn.c_attn.bias"), (Shape{72}));
  EXPECT_EQ(shape(model, "transformer.h.0.attn.c_proj.weight"), (Shape{24, 32}));
  std::vector<int64_t> columns;
  for (int64_t part = 0; part < 3; ++part)
    for (int64_t column : range(0, 32))
      if (column / 8 != 1) columns.push_back(part * 32 + column);
  EXPECT_EQ(model.graph.parameter("transformer.h.0.attn.c_attn.weight").load().to_floats(),
            selected(dense, range(0, 32), columns));
  // a second round, found anew
  const Coupling again = find_coupling(model.graph);
  cut(model.graph, again, id(again, "blocks.0.heads"), {2});
  EXPECT_EQ(split_sizes(0), (std::vector<int64_t>{8, 8, 8}));
  EXPECT_EQ(block_widths(model.graph)[0].heads, 1);
}

TEST_F(Surgery, CutsTheResidualWidthOfEveryFamily) {
  for (const char* type : {"llama", "qwen2", "qwen3", "gpt2", "opt", "phi"}) {
    Model model = load(type);
    const Coupling coupling = find_coupling(model.graph);
    const int64_t before = model.graph.parameter_count();
    cut(model.graph, coupling, id(coupling, "residual"), range(0, 20));
    infer_shapes(model.graph, {{2, 5}});
    EXPECT_LT(model.graph.parameter_count(), before) << type;
    EXPECT_EQ(model.graph.values[static_cast<size_t>(model.graph.outputs[0])].shape, (Shape{2, 5, 31})) << type;
  }
}

TEST_F(Surgery, RefusesToEmptyAGroup) {
  Model model = load("llama");
  const Coupling coupling = find_coupling(model.graph);
  ESP_EXPECT_USER_ERROR(cut(model.graph, coupling, id(coupling, "blocks.0.neurons"), {}),
                        "blocks.0.neurons: the cut would leave none of its 48 sets");
}

TEST_F(Surgery, RefusesSetsThatAreNotThereOrNotInOrder) {
  Model model = load("llama");
  const Coupling coupling = find_coupling(model.graph);
  const int group = id(coupling, "blocks.0.heads");
  ESP_EXPECT_USER_ERROR(cut(model.graph, coupling, group, {2}), "expected 0 to 1, found 2");
  ESP_EXPECT_USER_ERROR(cut(model.graph, coupling, group, {-1}), "expected 0 to 1, found -1");
  ESP_EXPECT_USER_ERROR(cut(model.graph, coupling, group, {1, 1}), "ascending");
}

TEST_F(Surgery, ARefusedCutChangesNothing) {
  Model model = load("llama");
  const Coupling coupling = find_coupling(model.graph);
  EXPECT_THROW(cut(model.graph, coupling, {{id(coupling, "residual"), {0, 1}}, {id(coupling, "blocks.0.heads"), {}}}),
               UserError);
  EXPECT_EQ(shape(model, "model.norm.weight"), (Shape{32}));
}

TEST_F(Surgery, AnOldCouplingIsABug) {
  Model model = load("llama");
  const Coupling coupling = find_coupling(model.graph);
  cut(model.graph, coupling, id(coupling, "blocks.0.heads"), {1});
  EXPECT_THROW(cut(model.graph, coupling, id(coupling, "blocks.0.heads"), {1}), Bug);
}

TEST_F(Surgery, QueryHeadsInEqualNumbersOnly) {
  Model model = load("llama", 2, 8);
  const Coupling coupling = find_coupling(model.graph, {HeadUnit::kQueryHead, {}, {}});
  const int group = id(coupling, "blocks.0.heads");
  ESP_EXPECT_USER_ERROR(cut(model.graph, coupling, group, {0, 1, 2, 4}), "found 3, 1");
  ESP_EXPECT_USER_ERROR(cut(model.graph, coupling, group, {0, 1, 2, 3}), "found 4, 0");
  cut(model.graph, coupling, group, {0, 3, 5, 6});
  EXPECT_EQ(shape(model, "model.layers.0.self_attn.q_proj.weight"), (Shape{16, 32}));
  EXPECT_EQ(shape(model, "model.layers.0.self_attn.k_proj.weight"), (Shape{8, 32}));
  EXPECT_EQ(block_widths(model.graph)[0], (BlockWidths{true, true, 4, 2, 4, 48}));
}

TEST_F(Surgery, QueryHeadsOfOneKvHeadInAnyNumber) {
  Model model = load("llama", 1);
  const Coupling coupling = find_coupling(model.graph, {HeadUnit::kQueryHead, {}, {}});
  cut(model.graph, coupling, id(coupling, "blocks.1.heads"), {0, 2, 3});
  EXPECT_EQ(block_widths(model.graph)[1], (BlockWidths{true, true, 3, 1, 8, 48}));
}

TEST_F(Surgery, AlignmentRoundsUpButNotBeyondAllAndNotHeads) {
  const Model model = load("llama");
  const Coupling coupling = find_coupling(model.graph);
  const auto &neurons = *coupling.find("blocks.0.neurons"), &heads = *coupling.find("blocks.0.heads"),
             &residual = *coupling.find("residual");
  EXPECT_EQ(aligned_count(neurons, 17, 8), 24);
  EXPECT_EQ(aligned_count(neurons, 24, 8), 24);
  EXPECT_EQ(aligned_count(neurons, 41, 32), 48);
  EXPECT_EQ(aligned_count(neurons, 17, 1), 17);
  EXPECT_EQ(aligned_count(residual, 1, 16), 16);
  EXPECT_EQ(aligned_count(heads, 1, 8), 1);
  EXPECT_EQ(aligned_count(heads, 1, 2, true), 2);
}

}  // namespace
}  // namespace espalier
