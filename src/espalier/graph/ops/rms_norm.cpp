// RMSNorm: x / sqrt(mean(x²) + epsilon) · weight, over the last dim; with the attribute `head_size` over each run of
// that many (QK norm). A QK norm's weight belongs to every head at once, so it is never cut.
#include "espalier/graph/ops/norm_rules.h"

namespace espalier {
namespace {

Cost cost(const NodeView& view) { return elementwise_cost(view, 4); }

void couple(Coupler& coupler, const NodeView& view) {
  const int64_t head_size = view.node().integer_or("head_size", 0);
  if (head_size > 0) {
    coupler.tie_runs(coupler.input(0, -1), head_size);
    coupler.freeze(coupler.param("weight", 0));
  } else if (view.node().has_param("weight")) {
    coupler.tie_all(coupler.input(0, -1), coupler.param("weight", 0));
  }
  coupler.pass_through();
}

const RegisterOperator registered({"RMSNorm", infer_norm, cost, couple});

}  // namespace
}  // namespace espalier
