// LayerNorm over the last dim: (x − mean) / sqrt(var + epsilon) · weight + bias.
#include "espalier/graph/ops/norm_rules.h"

namespace espalier {
namespace {

Cost cost(const NodeView& view) { return elementwise_cost(view, 7); }

void couple(Coupler& coupler, const NodeView& view) {
  for (const char* role : {"weight", "bias"})
    if (view.node().has_param(role)) coupler.tie_all(coupler.input(0, -1), coupler.param(role, 0));
  coupler.pass_through();
}

const RegisterOperator registered({"LayerNorm", infer_norm, cost, couple});

}  // namespace
}  // namespace espalier
