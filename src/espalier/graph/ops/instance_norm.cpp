// InstanceNorm: each channel of [n, C, …] normalised over its spatial positions; `weight` and `bias` [C], both
// optional. Attribute: `epsilon`.
#include "espalier/graph/ops/channel_rules.h"

namespace espalier::instance_norm_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  check_rank(view, view.input(0), 3, 8);
  check_channel_params(view, {"weight", "bias"});
  return {view.input(0)};
}

Cost cost(const NodeView& view) { return elementwise_cost(view, 7); }

void couple(Coupler& coupler, const NodeView& view) {
  couple_channel_params(coupler, view, {"weight", "bias"});
  freeze_positions(coupler, view);
  coupler.pass_through();
}

const RegisterOperator registered({"InstanceNorm", infer, cost, couple});

}  // namespace
}  // namespace espalier::instance_norm_op
