#include "espalier/lab/interpreter/masked_attention.h"

#include <limits>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// i - j: [queries, keys]
at::Tensor distances(int64_t position, int64_t queries, int64_t keys) {
  return at::arange(position, position + queries).unsqueeze(1) - at::arange(keys).unsqueeze(0);
}

at::Tensor chosen(const Selection& selection, int64_t keys) {
  if (selection.kind == Selection::Kind::kAll) return at::ones({keys}, at::kBool);
  at::Tensor mask = at::zeros({keys}, at::kBool);
  const int64_t block = selection.kind == Selection::Kind::kBlocks ? selection.block : 1;
  for (const int64_t id : selection.ids)
    if (id * block < keys) mask.narrow(0, id * block, std::min(block, keys - id * block)).fill_(true);
  return mask;
}

// One row of keys for each query head.
at::Tensor repeat_groups(const at::Tensor& x, int64_t heads) { return x.repeat_interleave(heads / x.size(0), 0); }

MaskedAttention attend(const at::Tensor& scores, const at::Tensor& v, at::Tensor mask) {
  const int64_t heads = scores.size(0);
  if (mask.dim() == 3 && mask.size(0) != heads) mask = repeat_groups(mask, heads);
  mask = mask.expand_as(scores);
  const at::Tensor masked = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  MaskedAttention result;
  result.log_sum_exp = at::logsumexp(masked, -1);
  // A row without keys has no softmax; it and its gradient are 0.
  const at::Tensor safe = scores.masked_fill(mask.logical_not(), -1e30);
  result.probabilities = at::softmax(safe, -1) * mask;
  result.out = at::matmul(result.probabilities, repeat_groups(v, heads));
  return result;
}

at::Tensor scores_of(const at::Tensor& q, const at::Tensor& k, double scale) {
  ESP_ASSERT(q.size(0) % k.size(0) == 0);
  return at::matmul(q * scale, repeat_groups(k, q.size(0)).transpose(-1, -2));
}

}  // namespace

at::Tensor selection_mask(const Selection& selection, int64_t position, int64_t queries, int64_t keys, int64_t model_window) {
  const at::Tensor distance = distances(position, queries, keys), j = at::arange(keys);
  at::Tensor mask = chosen(selection, keys).logical_or(j < selection.sink).unsqueeze(0).logical_or(distance < selection.window);
  mask = mask.logical_and(distance >= 0);
  if (model_window > 0) mask = mask.logical_and(distance < model_window);
  for (const int64_t p : selection.exclude)
    if (p < keys) mask.select(1, p).fill_(false);
  return mask;
}

at::Tensor sink_mask(const Selection& selection, int64_t position, int64_t queries, int64_t keys) {
  return (at::arange(keys) < selection.sink).unsqueeze(0).logical_and(distances(position, queries, keys) >= selection.window);
}

MaskedAttention masked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask, double scale) {
  return attend(scores_of(q, k, scale), v, mask);
}

MaskedAttention masked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask, double scale,
                                 const at::Tensor& sink_q, const at::Tensor& sinks) {
  return attend(at::where(sinks, scores_of(sink_q, k, scale), scores_of(q, k, scale)), v, mask);
}

}  // namespace espalier
