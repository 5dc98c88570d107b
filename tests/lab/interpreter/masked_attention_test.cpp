// The laboratory's reference and the engine, each the other's judge.
#include "espalier/lab/interpreter/masked_attention.h"

#include <gtest/gtest.h>

#include "tests/engine/attention/oracle.h"

namespace espalier {
namespace {

// [tokens, heads · size], head by head rotated to position(t), as [heads, tokens, size].
template <typename Position>
at::Tensor heads_of(const Oracle& oracle, const std::vector<float>& x, int64_t heads, const Position& position) {
  const int64_t size = oracle.layer.head_size;
  at::Tensor result = at::empty({heads, oracle.tokens, size});
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t t = 0; t < oracle.tokens; ++t) {
      const std::vector<double> row = oracle.turned(x, heads, t, h, position(t));
      for (int64_t c = 0; c < size; ++c) result[h][t][c] = row[static_cast<size_t>(c)];
    }
  return result;
}

struct Tensors {
  at::Tensor q, k, v;
  explicit Tensors(const Oracle& o) {
    const auto own = [](int64_t t) { return t; };
    q = heads_of(o, o.q, o.layer.heads, own), k = heads_of(o, o.k, o.layer.kv_heads, own);
    v = at::tensor(at::ArrayRef<float>(o.v)).view({o.tokens, o.layer.kv_heads, -1}).transpose(0, 1);
  }
};

double difference(const MaskedAttention& reference, const std::vector<float>& out) {
  const at::Tensor flat = reference.out.transpose(0, 1).flatten();
  return (flat - at::tensor(at::ArrayRef<float>(out))).abs().max().item<double>();
}

AttentionRequest streaming(bool true_positions) {
  AttentionRequest request;
  request.policy = "streaming";
  request.options = {{"sink", "3"}, {"window", "10"}, {"positions", true_positions ? "true" : "cache"}};
  return request;
}

TEST(MaskedAttention, EngineEqualsTheReference) {
  for (const auto& [heads, kv_heads] : {std::pair{4, 4}, std::pair{6, 2}, std::pair{5, 1}}) {
    const Oracle oracle(heads, kv_heads, 20, 60);
    const Tensors x(oracle);
    Selection selection;
    EXPECT_LT(difference(masked_attention(x.q, x.k, x.v, selection_mask(selection, 0, 60, 60), oracle.layer.scale),
                         run_sequence(oracle, {}, {60}).out), 1e-5);
    selection.kind = Selection::Kind::kTokens, selection.sink = 3, selection.window = 10;
    const at::Tensor mask = selection_mask(selection, 0, 60, 60);
    EXPECT_LT(difference(masked_attention(x.q, x.k, x.v, mask, oracle.layer.scale), run_sequence(oracle, streaming(true), {31, 1}).out), 1e-5);
    const at::Tensor nearer = heads_of(oracle, oracle.q, heads, [](int64_t t) { return std::min<int64_t>(t, 12); });
    EXPECT_LT(difference(masked_attention(x.q, x.k, x.v, mask, oracle.layer.scale, nearer, sink_mask(selection, 0, 60, 60)),
                         run_sequence(oracle, streaming(false), {31, 1}).out), 1e-5);
  }
}

TEST(MaskedAttention, SelectionsByHand) {
  Selection selection;
  selection.kind = Selection::Kind::kBlocks, selection.block = 2, selection.ids = {1}, selection.sink = 1, selection.window = 1, selection.exclude = {3};
  // Queries at 3, 4, 5: token 0 is the sink, block 1 holds tokens 2 and 3, and 3 is excluded.
  const at::Tensor expected = at::tensor({1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1}).view({3, 6}).to(at::kBool);
  EXPECT_TRUE(at::equal(selection_mask(selection, 3, 3, 6), expected));
  const at::Tensor near = at::tensor({0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1}).view({3, 6}).to(at::kBool);
  EXPECT_TRUE(at::equal(selection_mask(selection, 3, 3, 6, 3), near)) << "the model's own window of 3";
}

// Gradients equal those of attention over the kept keys alone, and keys that nobody sees get none.
TEST(MaskedAttention, GradientsFlowThroughWhatIsSeen) {
  const Oracle oracle(4, 2, 8, 12);
  const Tensors x(oracle);
  Selection selection;
  selection.kind = Selection::Kind::kTokens, selection.ids = {0, 3, 4, 7};
  const at::Tensor seen = at::tensor(std::vector<int64_t>{0, 3, 4, 7});
  const auto leaf = [](const at::Tensor& t) { return t.detach().clone().set_requires_grad(true); };
  const at::Tensor q = leaf(x.q.narrow(1, 8, 4)), k = leaf(x.k), v = leaf(x.v);
  masked_attention(q, k, v, selection_mask(selection, 8, 4, 12), oracle.layer.scale).out.square().sum().backward();
  const at::Tensor q2 = leaf(x.q.narrow(1, 8, 4)), k2 = leaf(x.k.index_select(1, seen)), v2 = leaf(x.v.index_select(1, seen));
  const at::Tensor all = at::softmax(at::matmul(q2 * oracle.layer.scale, k2.repeat_interleave(2, 0).transpose(-1, -2)), -1);
  at::matmul(all, v2.repeat_interleave(2, 0)).square().sum().backward();
  EXPECT_TRUE(at::allclose(q.grad(), q2.grad(), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(k.grad().index_select(1, seen), k2.grad(), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(v.grad().index_select(1, seen), v2.grad(), 1e-4, 1e-5));
  EXPECT_EQ(k.grad().select(1, 5).abs().max().item<double>(), 0);
}

TEST(MaskedAttention, AQueryThatSeesNothingIsZero) {
  const Oracle oracle(2, 1, 8, 6);
  const Tensors x(oracle);
  Selection selection;
  selection.kind = Selection::Kind::kTokens, selection.ids = {4};
  const MaskedAttention result = masked_attention(x.q, x.k, x.v, selection_mask(selection, 0, 6, 6), oracle.layer.scale);
  EXPECT_EQ(result.out.narrow(1, 0, 4).abs().max().item<double>(), 0);
  EXPECT_TRUE(at::allclose(result.out.select(1, 5)[1], x.v[0][4]));
  EXPECT_EQ(result.log_sum_exp[0][0].item<double>(), -INFINITY);
}

}  // namespace
}  // namespace espalier
