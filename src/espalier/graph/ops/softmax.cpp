// Softmax over the attribute `axis` (default the last), whose channels are frozen: each depends on all.
#include "espalier/graph/operator.h"

namespace espalier::softmax_op {
namespace {

size_t axis_of(const NodeView& view) {
  return checked_axis(view, view.node().integer_or("axis", -1), view.input(0).size());
}

std::vector<Shape> infer(const NodeView& view) {
  axis_of(view);
  return {view.input(0)};
}

Cost cost(const NodeView& view) { return elementwise_cost(view, 5); }

void couple(Coupler& coupler, const NodeView& view) {
  coupler.freeze(coupler.input(0, static_cast<int>(axis_of(view))));
  coupler.pass_through();
}

const RegisterOperator registered({"Softmax", infer, cost, couple});

}  // namespace
}  // namespace espalier::softmax_op
