// Activation: an elementwise function named by the attribute `kind` (activation_kinds.h). Real attributes of some:
// `alpha` of leaky_relu (default 0.01), elu and celu (1) and hardsigmoid (0.2), `beta` of hardsigmoid (0.5), `min` and
// `max` of clip (none). relu6 is a clip from 0 to 6.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/graph/ops/activation_kinds.h"

namespace espalier::activation_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const std::string kind = view.node().text_or("kind", "");
  if (!is_activation_kind(kind))
    throw UserError(view.node().name, "kind", fmt::format("one of {}", fmt::join(kActivationKinds, ", ")),
                    printable(kind));
  return {view.input(0)};
}

Cost cost(const NodeView& view) { return elementwise_cost(view, 8); }
void couple(Coupler& coupler, const NodeView&) { coupler.pass_through(); }

const RegisterOperator registered({"Activation", infer, cost, couple});

}  // namespace
}  // namespace espalier::activation_op
