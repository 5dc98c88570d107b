#include "espalier/structure/coupling.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "espalier/graph/operator.h"
#include "tests/graph/test_graph.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::TestGraph;
using Sets = std::vector<int32_t>;

// Expected sets by "param:axis"; dims that are not named must be wholly frozen.
void expect_sets(const Graph& graph, const Coupling& coupling, const std::map<std::string, Sets>& expected) {
  for (const auto& parameter : graph.parameters())
    for (size_t axis = 0; axis < parameter->shape().size(); ++axis) {
      const auto found = expected.find(fmt::format("{}:{}", parameter->name(), axis));
      EXPECT_EQ(coupling.canonical_sets(parameter->name(), axis), found == expected.end() ? Sets{} : found->second)
          << parameter->name() << " axis " << axis;
    }
}

Sets repeated(const Sets& sets, size_t times) {
  Sets all;
  for (int32_t set : sets) all.insert(all.end(), times, set);
  return all;
}

std::map<std::string, const CouplingMember*> members_of(const CouplingGroup& group) {
  std::map<std::string, const CouplingMember*> members;
  for (const auto& member : group.members) members[fmt::format("{}:{}", member.param, member.axis)] = &member;
  return members;
}

// Numbers of SPA's golden file, group_gqa_attention_heads: found by its authors through Reshape, Transpose and Expand.
TEST(CouplingGolden, GroupedQueryAttention) {
  TestGraph g;
  g.input("ids", {1, 3});
  for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{{"emb", {7, 8}},
                                                                              {"ln", {8}},
                                                                              {"wq", {8, 8}},
                                                                              {"wk", {4, 8}},
                                                                              {"wv", {4, 8}},
                                                                              {"wo", {8, 8}},
                                                                              {"w1", {6, 8}},
                                                                              {"b1", {6}},
                                                                              {"w2", {8, 6}},
                                                                              {"wh", {7, 8}}})
    g.param(name, shape);
  g.node("Embedding", {"ids"}, {"h"}, {{"weight", "emb"}});
  g.node("LayerNorm", {"h"}, {"n"}, {{"weight", "ln"}}, {{"epsilon", 1e-5}});
  g.node("Linear", {"n"}, {"q"}, {{"weight", "wq"}});
  g.node("Linear", {"n"}, {"k"}, {{"weight", "wk"}});
  g.node("Linear", {"n"}, {"v"}, {{"weight", "wv"}});
  g.node("Attention", {"q", "k", "v"}, {"c"}, {}, {{"head_size", int64_t{2}}, {"scale", 1.0}});
  g.node("Linear", {"c"}, {"ao"}, {{"weight", "wo"}});
  g.node("Add", {"h", "ao"}, {"h2"});
  g.node("Linear", {"h2"}, {"m1"}, {{"weight", "w1"}, {"bias", "b1"}});
  g.node("Activation", {"m1"}, {"m2"}, {}, {{"kind", std::string("relu")}});
  g.node("Linear", {"m2"}, {"m3"}, {{"weight", "w2"}});
  g.node("Add", {"h2", "m3"}, {"h3"});
  g.node("Linear", {"h3"}, {"y"}, {{"weight", "wh"}});
  g.output("y");
  const Sets width{0, 1, 2, 3, 4, 5, 6, 7}, neurons{10, 11, 12, 13, 14, 15};
  const Coupling coupling = find_coupling(g.graph);
  expect_sets(g.graph, coupling,
              {{"emb:1", width},
               {"ln:0", width},
               {"wq:0", {8, 8, 8, 8, 9, 9, 9, 9}},
               {"wq:1", width},
               {"wk:0", {8, 8, 9, 9}},
               {"wk:1", width},
               {"wv:0", {8, 8, 9, 9}},
               {"wv:1", width},
               {"wo:0", width},
               {"wo:1", {8, 8, 8, 8, 9, 9, 9, 9}},
               {"w1:0", neurons},
               {"w1:1", width},
               {"b1:0", neurons},
               {"w2:0", width},
               {"w2:1", neurons},
               {"wh:1", width}});
  ASSERT_EQ(coupling.groups.size(), 3u);
  EXPECT_EQ(coupling.groups[0].set_count, 8);
  EXPECT_EQ(coupling.groups[1].set_count, 2);
  EXPECT_EQ(coupling.groups[2].set_count, 6);
}

TEST(CouplingGolden, GatedMlpThroughASplit) {
  TestGraph g;
  g.input("x", {1, 4});
  g.param("w1", {6, 4});
  g.param("w2", {3, 3});
  g.param("w3", {2, 3});
  g.node("Linear", {"x"}, {"a"}, {{"weight", "w1"}});
  g.node("Split", {"a"}, {"u", "v"}, {}, {{"sizes", std::vector<int64_t>{3, 3}}});
  g.node("Activation", {"u"}, {"s"}, {}, {{"kind", std::string("silu")}});
  g.node("Mul", {"s", "v"}, {"m"});
  g.node("Linear", {"m"}, {"z"}, {{"weight", "w2"}});
  g.node("Linear", {"z"}, {"y"}, {{"weight", "w3"}});
  g.output("y");
  const Coupling coupling = find_coupling(g.graph);
  expect_sets(g.graph, coupling,
              {{"w1:0", {0, 1, 2, 0, 1, 2}}, {"w2:0", {3, 4, 5}}, {"w2:1", {0, 1, 2}}, {"w3:1", {3, 4, 5}}});
  ASSERT_EQ(coupling.counted.size(), 2u);
  EXPECT_EQ(coupling.counted[1].entry, 1u);
  EXPECT_EQ(coupling.counted[1].positions[2].set, 2);
}

TEST(CouplingGolden, SharedParameterAndTwoOutputs) {
  TestGraph g;
  g.input("x", {1, 4});
  for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{
           {"w1", {3, 4}}, {"w2", {3, 4}}, {"ws", {5, 3}}, {"wo", {2, 5}}, {"wm", {3, 5}}, {"wz", {2, 3}}})
    g.param(name, shape);
  g.node("Linear", {"x"}, {"h1"}, {{"weight", "w1"}});
  g.node("Linear", {"x"}, {"h2"}, {{"weight", "w2"}});
  g.node("Linear", {"h1"}, {"s1"}, {{"weight", "ws"}});
  g.node("Linear", {"h2"}, {"s2"}, {{"weight", "ws"}});
  g.node("Activation", {"s1"}, {"r1"}, {}, {{"kind", std::string("relu")}});
  g.node("Linear", {"r1"}, {"y1"}, {{"weight", "wo"}});
  g.node("Linear", {"s2"}, {"m"}, {{"weight", "wm"}});
  g.node("Linear", {"m"}, {"y2"}, {{"weight", "wz"}});
  g.node("Add", {"y1", "y2"}, {"y"});
  g.output("y");
  g.output("m");
  expect_sets(g.graph, find_coupling(g.graph),
              {{"w1:0", {0, 1, 2}},
               {"w2:0", {0, 1, 2}},
               {"ws:0", {3, 4, 5, 6, 7}},
               {"ws:1", {0, 1, 2}},
               {"wo:1", {3, 4, 5, 6, 7}},
               {"wm:1", {3, 4, 5, 6, 7}}});
}

Model tiny(const test::TempDir& dir, const std::string& type, int64_t kv_heads, bool qk_norm = false) {
  test::TinyOptions options;
  options.kv_heads = kv_heads;
  options.qk_norm = qk_norm;
  return test::load_tiny(dir / (type + std::to_string(kv_heads)), type, options);
}

TEST(CouplingOfFamilies, LlamaHasOneResidualAndTwoGroupsABlock) {
  const test::TempDir dir;
  const Model model = tiny(dir, "llama", 2);
  const Coupling coupling = find_coupling(model.graph);
  ASSERT_EQ(coupling.groups.size(), 7u);
  const auto* residual = coupling.find("residual");
  ASSERT_TRUE(residual);
  EXPECT_EQ(residual->kind, GroupKind::kResidual);
  EXPECT_EQ(residual->set_count, 32);
  EXPECT_EQ(residual->members.size(), 3u + 3 * 9);  // embedding, last norm, head; 2 norms and 7 projections a block
  const auto* heads = coupling.find(GroupKind::kHeads, 1);
  ASSERT_TRUE(heads && heads->heads);
  EXPECT_EQ(heads->label, "blocks.1.heads");
  EXPECT_EQ(heads->set_count, 2);
  EXPECT_EQ(heads->heads->head_size, 8);
  EXPECT_EQ(heads->heads->queries_per_set, 2);
  const auto members = members_of(*heads);
  ASSERT_EQ(members.size(), 4u);
  const std::string at = "model.layers.1.self_attn.";
  EXPECT_EQ(members.at(at + "q_proj.weight:0")->set_of_index, repeated({0, 1}, 16));
  EXPECT_EQ(members.at(at + "k_proj.weight:0")->set_of_index, repeated({0, 1}, 8));
  EXPECT_EQ(members.at(at + "v_proj.weight:0")->set_of_index, repeated({0, 1}, 8));
  EXPECT_EQ(members.at(at + "o_proj.weight:1")->set_of_index, repeated({0, 1}, 16));
  const auto* neurons = coupling.find("blocks.2.neurons");
  ASSERT_TRUE(neurons);
  EXPECT_EQ(neurons->block, 2);
  EXPECT_EQ(neurons->set_count, 48);
  EXPECT_EQ(members_of(*neurons).count("model.layers.2.mlp.down_proj.weight:1"), 1u);
}

TEST(CouplingOfFamilies, HeadsOfMhaAndMqa) {
  const test::TempDir dir;
  const Coupling mha = find_coupling(tiny(dir, "llama", 4).graph), mqa = find_coupling(tiny(dir, "llama", 1).graph);
  EXPECT_EQ(mha.find("blocks.0.heads")->set_count, 4);
  EXPECT_EQ(mha.find("blocks.0.heads")->heads->queries_per_set, 1);
  EXPECT_EQ(mqa.find("blocks.0.heads")->set_count, 1);
  EXPECT_EQ(mqa.find("blocks.0.heads")->heads->queries_per_set, 4);
}

TEST(CouplingOfFamilies, QueryHeadsLeaveKeysAndValuesAlone) {
  const test::TempDir dir;
  const Coupling coupling = find_coupling(tiny(dir, "llama", 2).graph, {HeadUnit::kQueryHead, {}, {}});
  const auto* heads = coupling.find("blocks.0.heads");
  ASSERT_TRUE(heads && heads->heads);
  EXPECT_EQ(heads->set_count, 4);
  EXPECT_EQ(heads->heads->kv_head_of_set, (Sets{0, 0, 1, 1}));
  const auto members = members_of(*heads);
  ASSERT_EQ(members.size(), 2u);
  EXPECT_EQ(members.at("model.layers.0.self_attn.q_proj.weight:0")->set_of_index, repeated({0, 1, 2, 3}, 8));
  EXPECT_EQ(members.count("model.layers.0.self_attn.o_proj.weight:1"), 1u);
  EXPECT_TRUE(coupling.canonical_sets("model.layers.0.self_attn.k_proj.weight", 0).empty());
}

TEST(CouplingOfFamilies, PackedProjectionWorksThroughItsSplit) {
  const test::TempDir dir;
  const Coupling coupling = find_coupling(tiny(dir, "gpt2", 4).graph);
  const auto members = members_of(*coupling.find("blocks.0.heads"));
  const Sets one = repeated({0, 1, 2, 3}, 8);
  Sets three = one;
  for (int i = 0; i < 2; ++i) three.insert(three.end(), one.begin(), one.end());
  EXPECT_EQ(members.at("transformer.h.0.attn.c_attn.weight:1")->set_of_index, three);
  EXPECT_EQ(members.at("transformer.h.0.attn.c_attn.bias:0")->set_of_index, three);
  EXPECT_EQ(members.at("transformer.h.0.attn.c_proj.weight:0")->set_of_index, one);
  EXPECT_EQ(coupling.counted.size(), 9u);
  // tied: the head's width is the embedding's
  EXPECT_EQ(coupling.find("residual")->members.front().param, "transformer.wte.weight");
}

TEST(CouplingOfFamilies, ParallelBranchesAndBiases) {
  const test::TempDir dir;
  const Coupling coupling = find_coupling(tiny(dir, "phi", 2, true).graph);
  const auto heads = members_of(*coupling.find("blocks.0.heads"));
  EXPECT_EQ(heads.at("model.layers.0.self_attn.k_proj.bias:0")->set_of_index, repeated({0, 1}, 8));
  EXPECT_EQ(heads.size(), 7u);
  EXPECT_TRUE(coupling.canonical_sets("model.layers.0.self_attn.q_layernorm.weight", 0).empty());
  EXPECT_TRUE(coupling.canonical_sets("model.layers.0.self_attn.q_layernorm.bias", 0).empty());
  EXPECT_TRUE(coupling.canonical_sets("lm_head.bias", 0).empty());
  EXPECT_EQ(coupling.find("residual")->set_count, 32);
}

TEST(CouplingOfFamilies, QkNormIsNeverCut) {
  const test::TempDir dir;
  const Coupling coupling = find_coupling(tiny(dir, "qwen3", 2).graph);
  EXPECT_TRUE(coupling.canonical_sets("model.layers.0.self_attn.q_norm.weight", 0).empty());
  EXPECT_EQ(coupling.find("blocks.0.heads")->set_count, 2);
}

TEST(CouplingOfFamilies, ProjectedEmbeddingIsAGroupOfItsOwn) {
  const test::TempDir dir;
  test::TinyOptions options;
  options.embed = 16;
  options.norm_first = false;
  const Coupling coupling = find_coupling(test::load_tiny(dir / "m", "opt", options).graph);
  EXPECT_EQ(coupling.find("residual")->set_count, 32);
  const auto* embedding = coupling.find("channels.model.decoder.embed_tokens");
  ASSERT_TRUE(embedding);
  EXPECT_EQ(embedding->set_count, 16);
  EXPECT_EQ(members_of(*embedding).size(), 3u);  // embed_tokens, project_in, project_out
}

TEST(CouplingReasons, NameTheNodeAndTheOtherSide) {
  const test::TempDir dir;
  const Coupling coupling = find_coupling(tiny(dir, "llama", 2).graph);
  const auto residual = members_of(*coupling.find("residual")), heads = members_of(*coupling.find("blocks.0.heads"));
  EXPECT_EQ(residual.at("model.layers.0.self_attn.o_proj.weight:0")->reason,
            "Add model.layers.0.attention_residual with model.embed_tokens.weight axis 1");
  EXPECT_EQ(heads.at("model.layers.0.self_attn.k_proj.weight:0")->reason,
            "Attention model.layers.0.self_attn.attention with model.layers.0.self_attn.v_proj.weight axis 0");
  EXPECT_EQ(heads.at("model.layers.0.self_attn.o_proj.weight:1")->reason,
            "Linear model.layers.0.self_attn.o_proj with model.layers.0.self_attn.q_proj.weight axis 0");
}

TEST(CouplingReasons, AreShownAsTextAndJson) {
  const test::TempDir dir;
  const Coupling coupling = find_coupling(tiny(dir, "qwen3", 2).graph);
  const std::string text = describe_groups(coupling);
  EXPECT_NE(text.find("group 0 residual: 32 sets"), std::string::npos);
  EXPECT_NE(text.find("(heads of 8; 2 KV heads; a set is 2 query heads with its KV head)"), std::string::npos);
  EXPECT_NE(text.find("model.layers.0.mlp.up_proj.weight axis 0 [48]: Mul model.layers.0.mlp.product with"),
            std::string::npos);
  const Json json = groups_to_json(coupling);
  ASSERT_EQ(json["groups"].size(), 7u);
  EXPECT_EQ(json["groups"][1]["heads"]["kv_heads"], 2);
  EXPECT_EQ(json["groups"][1]["members"].size(), 4u);
  EXPECT_TRUE(json["unknown_operators"].empty());
}

TEST(CouplingProtection, FreezesWhatItNames) {
  const test::TempDir dir;
  const Model model = tiny(dir, "llama", 2);
  const Coupling neurons =
      find_coupling(model.graph, {HeadUnit::kKvGroup, {}, {{"model.layers.1.mlp.up_proj.weight", 0}}});
  EXPECT_FALSE(neurons.find("blocks.1.neurons"));
  EXPECT_TRUE(neurons.find("blocks.0.neurons"));
  EXPECT_TRUE(neurons.find("residual"));
  const Coupling block = find_coupling(model.graph, {HeadUnit::kKvGroup, {"model.layers.1.*"}, {}});
  EXPECT_FALSE(block.find("blocks.1.neurons"));
  EXPECT_FALSE(block.find("blocks.1.heads"));
  EXPECT_FALSE(block.find("residual"));  // its weights are as wide as the stream
  EXPECT_TRUE(block.find("blocks.2.heads"));
  ESP_EXPECT_USER_ERROR(find_coupling(model.graph, {HeadUnit::kKvGroup, {"model.layer.*"}, {}}), "model.layer.*");
  ESP_EXPECT_USER_ERROR(find_coupling(model.graph, {HeadUnit::kKvGroup, {}, {{"model.norm.weight", 1}}}),
                        "'model.norm.weight' axis 1");
}

TEST(CouplingProtection, PatternsMatchWholeNames) {
  EXPECT_TRUE(matches_pattern("a.b.c", "a.*.c"));
  EXPECT_TRUE(matches_pattern("a.b.c", "*"));
  EXPECT_TRUE(matches_pattern("abcabc", "*abc"));
  EXPECT_TRUE(matches_pattern("abc", "abc**"));
  EXPECT_FALSE(matches_pattern("abcd", "abc"));
  EXPECT_FALSE(matches_pattern("abc", "abcd"));
  EXPECT_FALSE(matches_pattern("a.b", "b*"));
}

TEST(CouplingRules, AGateAndADeadSide) {
  TestGraph g;
  g.input("x", {1, 4});
  g.param("w1", {4, 4});
  g.param("gate", {4});
  g.param("w2", {2, 4});
  g.node("Linear", {"x"}, {"a"}, {{"weight", "w1"}});
  g.node("Gate", {"a"}, {"b"}, {{"gate", "gate"}});
  g.node("Linear", {"b"}, {"y"}, {{"weight", "w2"}});
  g.output("y");
  expect_sets(g.graph, find_coupling(g.graph),
              {{"w1:0", {0, 1, 2, 3}}, {"gate:0", {0, 1, 2, 3}}, {"w2:1", {0, 1, 2, 3}}});
  g.graph.nodes[1].op = "Add";  // with the graph's input, which carries no channels
  g.graph.nodes[1].inputs.push_back(g.graph.inputs[0]);
  g.graph.nodes[1].params.clear();
  g.graph.drop_unused_parameters();
  expect_sets(g.graph, find_coupling(g.graph), {});
}

TEST(CouplingRules, AFrozenIndexFreezesItsClassOnly) {
  TestGraph g;
  g.input("x", {1, 4});
  g.param("w1", {5, 4});
  g.param("w2", {3, 5});
  g.node("Linear", {"x"}, {"a"}, {{"weight", "w1"}});
  g.node("Split", {"a"}, {"b", "c"}, {}, {{"sizes", std::vector<int64_t>{3, 2}}});
  g.node("Linear", {"a"}, {"y"}, {{"weight", "w2"}});
  g.output("y");
  g.output("c");
  const Coupling coupling = find_coupling(g.graph);
  expect_sets(g.graph, coupling, {{"w1:0", {0, 1, 2, -1, -1}}, {"w2:1", {0, 1, 2, -1, -1}}});
  EXPECT_NE(describe_groups(coupling).find("w1 axis 0 [5, 2 frozen]"), std::string::npos);
}

// A Llama of any size without its bytes.
Graph shape_only_llama(int64_t hidden, int64_t kv_width, int64_t ffn, int blocks) {
  Graph graph;
  auto value = [&] { return graph.add_value("v"); };
  auto node = [&](const std::string& op, std::vector<ValueId> in, const std::string& name, Shape weight = {},
                  std::map<std::string, Attribute> attributes = {}) {
    Node made{op, name, std::move(in), {value()}, {}, std::move(attributes), graph.block_count};
    if (!weight.empty()) {
      graph.add_parameter(name + ".weight", Tensor(DType::kBF16, weight, nullptr, nullptr));
      made.params["weight"] = name + ".weight";
    }
    graph.add_node(made);
    return made.outputs[0];
  };
  const std::map<std::string, Attribute> heads{{"head_size", int64_t{64}}, {"scale", 0.125}};
  graph.inputs = {value()};
  ValueId h = node("Embedding", graph.inputs, "embed", {32000, hidden});
  for (; graph.block_count < blocks; ++graph.block_count) {
    const std::string at = fmt::format("layers.{}.", graph.block_count);
    ValueId x = node("RMSNorm", {h}, at + "norm1", {hidden});
    const ValueId q = node("RotaryEmbedding", {node("Linear", {x}, at + "q", {hidden, hidden})}, at + "qr", {}, heads);
    const ValueId k =
        node("RotaryEmbedding", {node("Linear", {x}, at + "k", {kv_width, hidden})}, at + "kr", {}, heads);
    const ValueId a = node("Attention", {q, k, node("Linear", {x}, at + "v", {kv_width, hidden})}, at + "a", {}, heads);
    h = node("Add", {h, node("Linear", {a}, at + "o", {hidden, hidden})}, at + "add1");
    x = node("RMSNorm", {h}, at + "norm2", {hidden});
    const ValueId gate = node("Activation", {node("Linear", {x}, at + "gate", {ffn, hidden})}, at + "act", {}, {{"kind", std::string("silu")}});
    const ValueId product = node("Mul", {gate, node("Linear", {x}, at + "up", {ffn, hidden})}, at + "mul");
    h = node("Add", {h, node("Linear", {product}, at + "down", {hidden, ffn})}, at + "add2");
  }
  graph.outputs = {node("Linear", {node("RMSNorm", {h}, "norm", {hidden})}, "head", {32000, hidden})};
  return graph;
}

// The median of several runs, with room for slow machines and sanitizers; the measured times are in the message.
double median_seconds(const Graph& graph) {
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(find_coupling(graph).groups.size(), static_cast<size_t>(2 * graph.block_count + 1));
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[2];
}

TEST(CouplingSpeed, HalfAGigabyte) {
  const double seconds = median_seconds(shape_only_llama(1024, 512, 2816, 20));
  RecordProperty("milliseconds", static_cast<int>(seconds * 1e3));
  EXPECT_LT(seconds, 0.3);
}

TEST(CouplingSpeed, SevenBillion) {
  const double seconds = median_seconds(shape_only_llama(4096, 4096, 11008, 32));
  RecordProperty("milliseconds", static_cast<int>(seconds * 1e3));
  EXPECT_LT(seconds, 5);
}

}  // namespace
}  // namespace espalier
