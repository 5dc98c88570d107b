// GroupNorm: the channels of [n, C, …] in `num_groups` runs, each normalised over its channels and positions; `weight`
// and `bias` [C], both optional. Attributes: `num_groups`, `epsilon`. A cut takes the same channels of every group, so
// the number of groups stays. `mask` [C] as in norm_rules.h.
#include "espalier/core/error.h"
#include "espalier/graph/ops/channel_rules.h"

namespace espalier::group_norm_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  check_channel_params(view, {"weight", "bias", "mask"});
  const int64_t groups = view.node().integer("num_groups"), channels = view.input(0)[1];
  if (groups < 1 || channels % groups != 0)
    throw UserError(view.node().name, "num_groups", fmt::format("a divisor of {} channels", channels),
                    fmt::format("{}", groups));
  return {view.input(0)};
}

Cost cost(const NodeView& view) { return elementwise_cost(view, 7); }

void couple(Coupler& coupler, const NodeView& view) {
  const Atoms& in = coupler.input(0, 1);
  couple_channel_params(coupler, view, {"weight", "bias", "mask"});
  coupler.tie_strided(in, view.input(0)[1] / view.node().integer("num_groups"));
  coupler.statistics_over(in);
  freeze_positions(coupler, view);
  coupler.pass_through();
}

const RegisterOperator registered({"GroupNorm", infer, cost, couple});

}  // namespace
}  // namespace espalier::group_norm_op
