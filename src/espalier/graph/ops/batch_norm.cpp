// BatchNorm, inference: (x − mean) / sqrt(var + epsilon) · weight + bias over the channels of [n, C, …]. Parameters
// [C], all optional: `weight` (else 1), `bias` (else 0), `mean` (else 0), `var` (else 1). Attribute: `epsilon`.
#include "espalier/graph/ops/channel_rules.h"

namespace espalier::batch_norm_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  check_channel_params(view, {"weight", "bias", "mean", "var"});
  return {view.input(0)};
}

Cost cost(const NodeView& view) { return elementwise_cost(view, 2); }

void couple(Coupler& coupler, const NodeView& view) {
  couple_channel_params(coupler, view, {"weight", "bias", "mean", "var"});
  coupler.pass_through();
}

const RegisterOperator registered({"BatchNorm", infer, cost, couple});

}  // namespace
}  // namespace espalier::batch_norm_op
