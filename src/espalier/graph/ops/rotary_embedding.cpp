// RotaryEmbedding: rotates pairs (i, i + rotary/2) of each head's first `rotary` of `head_size` channels by
// position · inverse_frequency[i]; `scale` multiplies cosine and sine (1 except for YaRN-like scalings).
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::rotary_embedding_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const int64_t head_size = view.node().integer("head_size");
  if (view.input(0).back() % head_size != 0)
    shape_mismatch(view, "width", fmt::format("a multiple of the head size {}", head_size), view.input(0));
  return {view.input(0)};
}

Cost cost(const NodeView& view) { return elementwise_cost(view, 3); }

void couple(Coupler& coupler, const NodeView& view) {
  coupler.tie_runs(coupler.input(0, -1), view.node().integer("head_size"));
  coupler.pass_through();
}

const RegisterOperator registered({"RotaryEmbedding", infer, cost, couple});

}  // namespace
}  // namespace espalier::rotary_embedding_op
