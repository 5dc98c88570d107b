// Gate: multiplies the last dim by the parameter `gate` [width]: soft masks and dry runs of removals.
#include "espalier/graph/operator.h"

namespace espalier::gate_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  if (view.param("gate") != Shape{view.input(0).back()})
    shape_mismatch(view, "gate", to_string({view.input(0).back()}), view.param("gate"));
  return {view.input(0)};
}

Cost cost(const NodeView& view) { return elementwise_cost(view, 1); }

void couple(Coupler& coupler, const NodeView&) {
  coupler.tie_all(coupler.input(0, -1), coupler.param("gate", 0));
  coupler.pass_through();
}

const RegisterOperator registered({"Gate", infer, cost, couple});

}  // namespace
}  // namespace espalier::gate_op
