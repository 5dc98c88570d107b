// Attention in the forms that exporters write, and forms that look like it and are not.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "espalier/graph/ops/attention_masks.h"
#include "espalier/graph/sublayers.h"
#include "espalier/structure/coupling.h"
#include "tests/families/onnx/onnx_model.h"

namespace espalier::test {
namespace {

using Names = std::vector<std::string>;
using List = std::vector<int64_t>;

constexpr int64_t kHeads = 4, kSize = 2, kWidth = 8, kTokens = 5;

// Pre-norm blocks of a width of 8 over [n, 5, 3]; `scores` goes from "<at>s", the raw scores, to "<at>m".
class BlockModel : public ModelBuilder {
 public:
  using Step = std::function<void(ModelBuilder&, const std::string& at)>;

  explicit BlockModel(int blocks, Step scores = {}) {
    input("x", {"n", kTokens, 3}).weight("embed", {3, kWidth}).node("MatMul", {"x", "embed"}, {"h0"});
    ints("split_heads", {0, 0, kHeads, kSize}).ints("join_heads", {0, 0, kWidth});
    number("factor", 0.5f).weight("gamma", {kWidth}).weight("beta", {kWidth});
    for (int b = 0; b < blocks; ++b) block(std::to_string(b), scores);
    node("LayerNormalization", {"h" + std::to_string(blocks), "gamma", "beta"}, {"n"});
    weight("head", {kWidth, 2}).node("MatMul", {"n", "head"}, {"y"}).output("y");
  }

 private:
  void block(const std::string& b, const Step& scores) {
    const std::string at = "/b" + b + "/", next = "h" + std::to_string(std::stoi(b) + 1);
    node("LayerNormalization", {"h" + b, "gamma", "beta"}, {at + "n1"});
    for (const std::string p : {"q", "k", "v"}) {
      weight(at + "w" + p, {kWidth, kWidth}).node("MatMul", {at + "n1", at + "w" + p}, {at + p + "0"});
      node("Reshape", {at + p + "0", "split_heads"}, {at + p + "1"});
      node("Transpose", {at + p + "1"}, {at + p}, {onnx_ints("perm", p == "k" ? List{0, 2, 3, 1} : List{0, 2, 1, 3})});
    }
    node("MatMul", {at + "q", at + "k"}, {at + "s"});
    if (scores) {
      scores(*this, at);
    } else {
      node("Mul", {at + "s", "factor"}, {at + "m"});
    }
    node("Softmax", {at + "m"}, {at + "p"}, {onnx_int("axis", -1)}).node("MatMul", {at + "p", at + "v"}, {at + "o0"});
    node("Transpose", {at + "o0"}, {at + "o1"}, {onnx_ints("perm", {0, 2, 1, 3})}).node("Reshape", {at + "o1", "join_heads"}, {at + "o2"});
    weight(at + "wo", {kWidth, kWidth}).node("MatMul", {at + "o2", at + "wo"}, {at + "o"}).node("Add", {"h" + b, at + "o"}, {at + "a"});
    node("LayerNormalization", {at + "a", "gamma", "beta"}, {at + "n2"});
    weight(at + "up", {kWidth, 12}).node("MatMul", {at + "n2", at + "up"}, {at + "u"}).node("Relu", {at + "u"}, {at + "r"});
    weight(at + "down", {12, kWidth}).node("MatMul", {at + "r", at + "down"}, {at + "d"}).node("Add", {at + "a", at + "d"}, {next});
  }
};

int count(const Graph& graph, const std::string& op) {
  return static_cast<int>(std::count_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return node.op == op; }));
}

TEST(OnnxAttention, BlocksAndHeads) {
  const OnnxImport found = BlockModel(2).import();
  EXPECT_EQ(operators(found.graph),
            (Names{"Linear", "LayerNorm", "Linear", "Linear", "Linear", "Attention", "Linear", "Add", "LayerNorm", "Linear",
                   "Activation", "Linear", "Add", "LayerNorm", "Linear", "Linear", "Linear", "Attention", "Linear", "Add",
                   "LayerNorm", "Linear", "Activation", "Linear", "Add", "LayerNorm", "Linear"}));
  EXPECT_EQ(found.graph.block_count, 2);
  const auto widths = block_widths(found.graph);
  ASSERT_EQ(widths.size(), 2u);
  for (const BlockWidths& width : widths) {
    EXPECT_EQ(width.heads, kHeads);
    EXPECT_EQ(width.kv_heads, kHeads);
    EXPECT_EQ(width.head_size, kSize);
    EXPECT_EQ(width.ffn_width, 12);
  }
  EXPECT_EQ(find_sublayers(found.graph).size(), 4u);
  const Coupling coupling = find_coupling(found.graph);
  for (const std::string block : {"blocks.0.", "blocks.1."}) {
    const CouplingGroup* heads = coupling.find(block + "heads");
    ASSERT_TRUE(heads) << describe_groups(coupling);
    EXPECT_EQ(heads->set_count, kHeads);
    EXPECT_EQ(heads->heads->head_size, kSize);
    EXPECT_TRUE(coupling.find(block + "neurons"));
  }
  EXPECT_TRUE(coupling.find("residual"));
}

// BLOOM packs each head's query, key and value together.
TEST(OnnxAttention, InterleavedHeadsAreGathered) {
  ModelBuilder b;
  b.input("x", {"n", kTokens, kWidth}).weight("w", {kWidth, 3 * kWidth}).node("MatMul", {"x", "w"}, {"packed"});
  b.ints("apart", {0, 0, kHeads, 3, kSize}).node("Reshape", {"packed", "apart"}, {"r"}).ints("flat", {0, 0, kWidth});
  for (const int64_t i : {0, 1, 2}) {
    const std::string p(1, "qkv"[i]);
    b.ints(p + "at", {i}, true).node("Gather", {"r", p + "at"}, {p + "0"}, {onnx_int("axis", 3)});
    b.node("Transpose", {p + "0"}, {p}, {onnx_ints("perm", i == 1 ? List{0, 2, 3, 1} : List{0, 2, 1, 3})});
  }
  b.node("MatMul", {"q", "k"}, {"s"}).node("Softmax", {"s"}, {"p"}, {onnx_int("axis", -1)}).node("MatMul", {"p", "v"}, {"o0"});
  b.node("Transpose", {"o0"}, {"o1"}, {onnx_ints("perm", {0, 2, 1, 3})}).node("Reshape", {"o1", "flat"}, {"o2"});
  b.weight("wo", {kWidth, kWidth}).node("MatMul", {"o2", "wo"}, {"o"}).node("Add", {"x", "o"}, {"h"}).node("Tanh", {"h"}, {"y"});
  const OnnxImport found = b.output("y").import();
  EXPECT_EQ(operators(found.graph), (Names{"Linear", "Gather", "Gather", "Gather", "Attention", "Linear", "Add", "Activation"}));
  EXPECT_EQ(found.graph.nodes[2].integers("indices"), (List{2, 3, 8, 9, 14, 15, 20, 21}));
  EXPECT_EQ(block_widths(found.graph).at(0).kv_heads, kHeads);
  const Coupling coupling = find_coupling(found.graph);
  ASSERT_EQ(coupling.groups.size(), 1u);
  EXPECT_EQ(coupling.canonical_sets("w", 1), (std::vector<int32_t>{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3}));
}

TEST(OnnxAttention, ScalesMultiply) {
  const auto scaled = [](ModelBuilder& b, const std::string& at) {
    b.number(at + "two", 2).node("Div", {at + "s", at + "two"}, {at + "s1"}).node("Mul", {"factor", at + "s1"}, {at + "m"});
  };
  const OnnxImport found = BlockModel(1, scaled).import();
  EXPECT_DOUBLE_EQ(only(found.graph, "Attention").real("scale"), 0.25);
}

std::vector<float> triangle(float hidden) {
  std::vector<float> values;
  for (int64_t i = 0; i < kTokens; ++i)
    for (int64_t j = 0; j < kTokens; ++j) values.push_back(j > i ? hidden : 0);
  return values;
}

TEST(OnnxAttention, AMaskOfTheFutureIsCausal) {
  const auto with = [](float hidden) {
    return [hidden](ModelBuilder& b, const std::string& at) {
      b.floats(at + "mask", {1, 1, kTokens, kTokens}, triangle(hidden)).node("Add", {at + "s", at + "mask"}, {at + "m"});
    };
  };
  for (const float hidden : {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::lowest()}) {
    const OnnxImport found = BlockModel(1, with(hidden)).import();
    EXPECT_TRUE(only(found.graph, "Attention").flag_or("causal", false));
    EXPECT_EQ(only(found.graph, "Attention").inputs.size(), 3u);
  }
  const OnnxImport found = BlockModel(1, with(-1000)).import();  // large scores would show through
  EXPECT_FALSE(only(found.graph, "Attention").flag_or("causal", true));
  EXPECT_EQ(only(found.graph, "Attention").integers("masks"), List{kAddMask});
  EXPECT_EQ(found.graph.block_count, 1);
}

TEST(OnnxAttention, AMaskForEachHeadGoesWithIt) {
  const auto biased = [](ModelBuilder& b, const std::string& at) {
    b.weight(at + "bias", {kHeads, kTokens, kTokens}).node("Add", {at + "bias", at + "s"}, {at + "m"});
  };
  const OnnxImport found = BlockModel(1, biased).import();
  const Coupling coupling = find_coupling(found.graph);
  const CouplingGroup* heads = coupling.find("blocks.0.heads");
  ASSERT_TRUE(heads);
  EXPECT_TRUE(std::any_of(heads->members.begin(), heads->members.end(),
                          [](const CouplingMember& member) { return member.param == "/b0/bias" && member.axis == 0; }));
}

TEST(OnnxAttention, AMaskThatIsComputedLeavesTheGraphWithoutBlocks) {
  const auto masked = [](ModelBuilder& b, const std::string& at) {
    if (at == "/b0/") {
      b.input("keep", {"n", 1, 1, kTokens}, OnnxDataType::kBool).number("never", -1e9f);
      b.node("Not", {"keep"}, {"drop"});
    }
    b.node("Where", {"drop", "never", at + "s"}, {at + "m"});
  };
  const OnnxImport found = BlockModel(2, masked).import();
  EXPECT_EQ(count(found.graph, "Attention"), 2);
  EXPECT_EQ(found.graph.block_count, 0);
  EXPECT_EQ(find_coupling(found.graph).find(GroupKind::kHeads, -1)->set_count, kHeads);
}

// A model of which only a part is a stream with attention has no blocks: they would look like all of it.
TEST(OnnxAttention, AnAttentionOutsideTheStreamLeavesTheGraphWithoutBlocks) {
  BlockModel b(2);
  for (OnnxNode& node : b.model.graph.nodes)
    if (node.outputs[0] == "/b1/a") node.op_type = "Mul";
  EXPECT_EQ(b.import().graph.block_count, 0);
}

// Each of these changes what comes out, so none is an Attention.
TEST(OnnxAttention, WhatIsNotExactlyAttentionStays) {
  const std::vector<BlockModel::Step> steps = {
      [](ModelBuilder& b, const std::string& at) {  // a mask that is scaled with the scores
        b.weight(at + "c", {1, 1, 1, kTokens}).node("Add", {at + "s", at + "c"}, {at + "s1"}).node("Mul", {at + "s1", "factor"}, {at + "m"});
      },
      [](ModelBuilder& b, const std::string& at) {  // heads that talk to each other
        b.weight(at + "talk", {kHeads, kHeads}).node("Transpose", {at + "s"}, {at + "s1"}, {onnx_ints("perm", {0, 2, 3, 1})});
        b.node("MatMul", {at + "s1", at + "talk"}, {at + "s2"}).node("Transpose", {at + "s2"}, {at + "m"}, {onnx_ints("perm", {0, 3, 1, 2})});
      },
      [](ModelBuilder& b, const std::string& at) {  // queries and keys that have changed places
        b.node("Transpose", {at + "s"}, {at + "m"}, {onnx_ints("perm", {0, 1, 3, 2})});
      },
      [](ModelBuilder& b, const std::string& at) {  // another function of the scores
        b.node("Tanh", {at + "s"}, {at + "m"});
      },
      [](ModelBuilder& b, const std::string& at) {  // a factor for each head
        b.weight(at + "temper", {kHeads, 1, 1}).node("Mul", {at + "s", at + "temper"}, {at + "m"});
      },
  };
  for (size_t i = 0; i < steps.size(); ++i) {
    const OnnxImport found = BlockModel(1, steps[i]).import();
    EXPECT_EQ(count(found.graph, "Attention"), 0) << i;
    EXPECT_EQ(count(found.graph, "Softmax"), 1) << i;
  }
  EXPECT_EQ(count(BlockModel(1).output("/b0/p").import().graph, "Attention"), 0) << "its probabilities are an output";
}

// Without its Reshape [heads, size] come apart as [size, heads]: those heads are no runs of channels after the product.
TEST(OnnxAttention, HeadsThatAreJoinedInAnotherOrderStay) {
  BlockModel b(1);
  for (OnnxNode& node : b.model.graph.nodes)
    if (node.outputs[0] == "/b0/o1") node.attributes = {onnx_ints("perm", {0, 2, 3, 1})};
  EXPECT_EQ(count(b.import().graph, "Attention"), 0);
}

// As Swin v2 makes its biases: from coordinates, which are no channels of anything.
TEST(OnnxAttention, TablesThatLayersReadKeepTheirChannels) {
  ModelBuilder b;
  b.input("x", {"n", 3, 4}).weight("table", {1, 3, 2}).weight("w1", {2, 6}).weight("w2", {6, 4});
  b.node("MatMul", {"table", "w1"}, {"h"}).node("Relu", {"h"}, {"r"}).node("MatMul", {"r", "w2"}, {"bias"}).node("Add", {"x", "bias"}, {"a"});
  const OnnxImport found = b.weight("head", {4, 2}).node("MatMul", {"a", "head"}, {"y"}).output("y").import();
  const Coupling coupling = find_coupling(found.graph);
  ASSERT_EQ(coupling.groups.size(), 1u) << describe_groups(coupling);
  EXPECT_EQ(coupling.groups[0].set_count, 6);
}

// Keras: heads by einsum, a bias of [heads, size], and a LayerNorm that multiplies first and subtracts then.
TEST(OnnxAttention, KerasWritesItInItsOwnWay) {
  ModelBuilder b;
  b.input("x", {"n", kTokens, kWidth}).number("eps", 1e-3f).number("factor", 0.5f);
  for (const std::string p : {"q", "k", "v"}) {
    b.weight("w" + p, {kWidth, kHeads, kSize}).weight("b" + p, {kHeads, kSize});
    b.node("Einsum", {"x", "w" + p}, {p + "0"}, {onnx_string("equation", "abc,cde->abde")}).node("Add", {p + "0", "b" + p}, {p});
  }
  b.node("Mul", {"q", "factor"}, {"qs"}).node("Einsum", {"k", "qs"}, {"s"}, {onnx_string("equation", "aecd,abcd->acbe")});
  b.node("Softmax", {"s"}, {"p"}, {onnx_int("axis", -1)}).node("Einsum", {"p", "v"}, {"o"}, {onnx_string("equation", "acbe,aecd->abcd")});
  b.weight("wo", {kHeads, kSize, kWidth}).weight("bo", {kWidth});
  b.node("Einsum", {"o", "wo"}, {"a0"}, {onnx_string("equation", "abcd,cde->abe")}).node("Add", {"a0", "bo"}, {"a"}).node("Add", {"x", "a"}, {"h"});
  b.weight("gamma", {1, 1, kWidth}).weight("beta", {1, 1, kWidth});
  b.node("GlobalAveragePool", {"h"}, {"mean"}).node("Sub", {"h", "mean"}, {"d"}).node("Mul", {"d", "d"}, {"dd"});
  b.node("GlobalAveragePool", {"dd"}, {"var"}).node("Add", {"var", "eps"}, {"ve"}).node("Sqrt", {"ve"}, {"dev"}).node("Reciprocal", {"dev"}, {"inv"});
  b.node("Mul", {"inv", "gamma"}, {"spread"}).node("Mul", {"h", "spread"}, {"hs"}).node("Neg", {"mean"}, {"minus"});
  b.node("Mul", {"minus", "spread"}, {"ms"}).node("Add", {"ms", "beta"}, {"shift"}).node("Add", {"hs", "shift"}, {"n"});
  const OnnxImport found = b.weight("head", {kWidth, 2}).node("MatMul", {"n", "head"}, {"y"}).output("y").import();
  EXPECT_EQ(count(found.graph, "Attention"), 1);
  EXPECT_EQ(count(found.graph, "LayerNorm"), 1);
  EXPECT_EQ(count(found.graph, "Linear"), 5);
  for (const Node& node : found.graph.nodes)
    if (node.op == "Linear") EXPECT_EQ(node.has_param("bias"), node.params.at("weight") != "head") << node.name;
  const Coupling coupling = find_coupling(found.graph);
  const auto heads = std::find_if(coupling.groups.begin(), coupling.groups.end(), [](const auto& group) { return group.kind == GroupKind::kHeads; });
  ASSERT_NE(heads, coupling.groups.end()) << describe_groups(coupling);
  EXPECT_EQ(heads->set_count, kHeads);
}

}  // namespace
}  // namespace espalier::test
