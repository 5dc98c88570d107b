#include <limits>

#include "espalier/graph/ops/attention_masks.h"
#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::attention_kernel {
namespace {

// [batch, tokens, heads · size] → [batch, heads, tokens, size]
at::Tensor split_heads(const at::Tensor& x, int64_t head_size) { return x.unflatten(-1, {-1, head_size}).transpose(1, 2); }

// true where a query must not look: the future, and what the window has left behind
at::Tensor forbidden(int64_t queries, int64_t keys, int64_t position, int64_t window) {
  const at::Tensor distance =
      at::arange(position, position + queries).unsqueeze(1) - at::arange(keys).unsqueeze(0);  // [queries, keys]
  at::Tensor mask = distance < 0;
  if (window > 0) mask = mask.logical_or(distance >= window);
  return mask;
}

at::Tensor masked(const at::Tensor& scores, const at::Tensor& mask, int64_t kind, double fill) {
  if (kind == kAddMask) return scores + mask;
  const at::Tensor truth = mask.to(at::kBool), number = at::scalar_tensor(fill, scores.options());
  return kind == kFillWhere ? at::where(truth, number, scores) : at::where(truth, scores, number);
}

// scores: [batch, heads, queries, keys]
at::Tensor masked(at::Tensor scores, const KernelContext& c) {
  if (c.inputs.size() == 3) return scores;
  const auto& kinds = c.node.integers("masks");
  const auto fills = attention_fills(c.node);
  for (size_t i = 0; i < kinds.size(); ++i) {
    const at::Tensor& mask = c.inputs[3 + i];
    const bool repeats = mask.dim() == 4 && mask.size(0) != 1 && mask.size(0) != scores.size(0);
    if (repeats) scores = scores.unflatten(0, {-1, mask.size(0)});
    scores = masked(scores, mask, kinds[i], fills[i]);
    if (repeats) scores = scores.flatten(0, 1);
  }
  return scores;
}

const RegisterKernel registered("Attention", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const int64_t head_size = c.node.integer("head_size"), window = c.node.integer_or("window", 0);
  const at::Tensor q = split_heads(c.inputs[0], head_size);
  at::Tensor k = split_heads(c.inputs[1], head_size), v = split_heads(c.inputs[2], head_size);
  if (c.cache) {
    auto& entry = c.cache->entries[&c.node];
    if (entry.key.defined()) {
      k = at::cat({entry.key, k}, 2);
      v = at::cat({entry.value, v}, 2);
    }
    entry = {k, v};
  }
  const int64_t batch = q.size(0), heads = q.size(1), tokens = q.size(2), kv_heads = k.size(1), keys = k.size(2);
  // The query heads of a KV group are stacked as rows, so K and V are never repeated.
  const at::Tensor grouped = q.reshape({batch, kv_heads, heads / kv_heads * tokens, head_size});
  at::Tensor scores = at::matmul(grouped * c.node.real("scale"), k.transpose(-1, -2)).view({batch, heads, tokens, keys});
  scores = masked(scores, c);
  if (c.node.flag_or("causal", true) && (tokens > 1 || window > 0))
    scores = scores.masked_fill(forbidden(tokens, keys, c.position, window), -std::numeric_limits<float>::infinity());
  const at::Tensor probabilities = at::softmax(scores, -1).view({batch, kv_heads, heads / kv_heads * tokens, keys});
  const at::Tensor mixed = at::matmul(probabilities, v).view({batch, heads, tokens, head_size});
  return {mixed.transpose(1, 2).flatten(-2)};
});

}  // namespace
}  // namespace espalier::attention_kernel
