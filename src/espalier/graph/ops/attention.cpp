// Attention: softmax(q kᵀ · scale + mask) v, per head. Inputs q [b, t, H·dh], k and v [b, t, K·dh]; output [b, t, H·dh].
// H and K follow from the widths, so a cut can never disagree with a stored count; query head h reads KV head h / (H/K).
// Attributes: head_size, scale, causal (default true), window (0: none).
// Further inputs change the scores one after the other, as the lists `masks` and `fills` say (attention_masks.h).
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/graph/ops/attention_masks.h"

namespace espalier::attention_op {
namespace {

// Masks are aligned with the scores [batch, heads, queries, keys] from the last dim.
void check_masks(const NodeView& view, int64_t heads) {
  const size_t count = view.node().inputs.size() - 3;
  const auto masks = view.node().integers_or("masks", {});
  if (masks.size() != count || attention_fills(view.node()).size() != count)
    throw UserError(view.node().name, "masks and fills", fmt::format("one for each of the {} inputs after v", count),
                    fmt::format("{} and {}", masks.size(), attention_fills(view.node()).size()));
  const Shape scores{view.input(0).at(0), heads, view.input(0).at(1), view.input(1).at(1)};
  for (size_t i = 0; i < count; ++i) {
    const Shape& mask = view.input(3 + i);
    bool fits = mask.size() <= 4 && masks[i] >= 0 && masks[i] < kAttentionMasks;
    for (size_t d = 0; fits && d < mask.size(); ++d) {
      const int64_t size = mask[mask.size() - 1 - d], whole = scores[3 - d];
      fits = size == 1 || size == whole || (d == 3 && size > 0 && whole % size == 0);
    }
    if (!fits) shape_mismatch(view, "mask", "one that fits the scores " + to_string(scores), mask);
  }
}

std::vector<Shape> infer(const NodeView& view) {
  const int64_t head_size = view.node().integer("head_size");
  const int64_t query = view.input(0).back(), key = view.input(1).back(), value = view.input(2).back();
  if (query % head_size != 0 || key % head_size != 0 || key == 0)
    shape_mismatch(view, "width of q and k", fmt::format("a multiple of the head size {}", head_size), view.input(0));
  if (value != key) shape_mismatch(view, "width of v", fmt::format("{}", key), view.input(2));
  if (query % key != 0)
    throw UserError(view.node().name, "query heads", fmt::format("a multiple of the {} KV heads", key / head_size),
                    fmt::format("{}", query / head_size));
  if (view.node().inputs.size() > 3) check_masks(view, query / head_size);
  return {view.input(0)};
}

// Scores and weighted values: 2 · 2 · t² · H · dh (the causal half is counted too, as frameworks compute it).
Cost cost(const NodeView& view) {
  const Shape& q = view.input(0);
  return {4.0 * static_cast<double>(element_count(q)) * static_cast<double>(view.input(1).at(1)), 0};
}

// A mask for each query head goes with it; one without channels of its own keeps them all.
void couple_masks(Coupler& coupler, const NodeView& view, const Atoms& q, size_t head_size) {
  for (size_t i = 3; i < view.node().inputs.size(); ++i) {
    const auto rank = static_cast<int>(coupler.input_rank(i));
    for (int axis = 1; axis <= rank; ++axis)
      if (axis != 3) coupler.freeze(coupler.input(i, -axis));
    if (rank < 3 || view.input(i)[static_cast<size_t>(rank - 3)] == 1) continue;
    const Atoms& heads = coupler.input(i, -3);
    if (heads.empty()) coupler.freeze(q);
    for (size_t h = 0; h < heads.size(); ++h) coupler.tie(heads[h], q[h * head_size]);
  }
}

void couple(Coupler& coupler, const NodeView& view) {
  const auto head_size = static_cast<size_t>(view.node().integer("head_size"));
  const Atoms &q = coupler.input(0, -1), &k = coupler.input(1, -1), &v = coupler.input(2, -1);
  for (size_t i = 0; i < 3; ++i)  // batch and tokens are no channels
    for (int axis = 0; axis < 2; ++axis) coupler.freeze(coupler.input(i, axis));
  if (q.empty() || k.empty() || v.empty()) {  // a dead side: nothing can be cut consistently
    for (const Atoms* atoms : {&q, &k, &v}) coupler.freeze(*atoms);
    for (size_t i = 3; i < view.node().inputs.size(); ++i)
      for (int axis = 0; axis < static_cast<int>(coupler.input_rank(i)); ++axis) coupler.freeze(coupler.input(i, axis));
    coupler.set_output(0, -1, q);
    return;
  }
  const size_t heads = q.size() / head_size, kv_heads = k.size() / head_size, group = heads / kv_heads;
  for (const Atoms* atoms : {&q, &k, &v}) coupler.tie_runs(*atoms, static_cast<int64_t>(head_size));
  for (size_t i = 0; i < kv_heads; ++i) coupler.tie(k[i * head_size], v[i * head_size]);
  if (coupler.head_unit() == HeadUnit::kKvGroup) {
    for (size_t h = 0; h < heads; ++h) coupler.tie(q[h * head_size], k[h / group * head_size]);
  } else {
    coupler.freeze(k);
  }
  couple_masks(coupler, view, q, head_size);
  Atoms out(q.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = q[i - i % head_size];
  coupler.set_output(0, -1, std::move(out));
}

const RegisterOperator registered({"Attention", infer, cost, couple});

}  // namespace
}  // namespace espalier::attention_op
