// Attention: softmax(q kᵀ · scale + mask) v, per head. Inputs q [b, t, H·dh], k and v [b, t, K·dh]; output [b, t, H·dh].
// H and K follow from the widths, so a cut can never disagree with a stored count; query head h reads KV head h / (H/K).
// Attributes: head_size, scale, causal (default true), window (0: none).
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const int64_t head_size = view.node().integer("head_size");
  const int64_t query = view.input(0).back(), key = view.input(1).back(), value = view.input(2).back();
  if (query % head_size != 0 || key % head_size != 0 || key == 0)
    shape_mismatch(view, "width of q and k", fmt::format("a multiple of the head size {}", head_size), view.input(0));
  if (value != key) shape_mismatch(view, "width of v", fmt::format("{}", key), view.input(2));
  if (query % key != 0)
    throw UserError(view.node().name, "query heads", fmt::format("a multiple of the {} KV heads", key / head_size),
                    fmt::format("{}", query / head_size));
  return {view.input(0)};
}

// Scores and weighted values: 2 · 2 · t² · H · dh (the causal half is counted too, as frameworks compute it).
Cost cost(const NodeView& view) {
  const Shape& q = view.input(0);
  return {4.0 * static_cast<double>(element_count(q)) * static_cast<double>(view.input(1).at(1)), 0};
}

void couple(Coupler& coupler, const NodeView& view) {
  const auto head_size = static_cast<size_t>(view.node().integer("head_size"));
  const Atoms &q = coupler.input(0, -1), &k = coupler.input(1, -1), &v = coupler.input(2, -1);
  for (size_t i = 0; i < 3; ++i)  // batch and tokens are no channels
    for (int axis = 0; axis < 2; ++axis) coupler.freeze(coupler.input(i, axis));
  if (q.empty() || k.empty() || v.empty()) {  // a dead side: nothing can be cut consistently
    for (const Atoms* atoms : {&q, &k, &v}) coupler.freeze(*atoms);
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
  Atoms out(q.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = q[i - i % head_size];
  coupler.set_output(0, -1, std::move(out));
}

const RegisterOperator registered({"Attention", infer, cost, couple});

}  // namespace
}  // namespace espalier
