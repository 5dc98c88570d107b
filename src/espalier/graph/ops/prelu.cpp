// PRelu: x where it is positive, else slope · x. `slope` broadcasts to x: [C, 1, 1] for channels of [n, C, h, w].
#include "espalier/graph/operator.h"

namespace espalier::prelu_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const Shape &x = view.input(0), &slope = view.param("slope");
  bool fits = slope.size() <= x.size();
  for (size_t d = 0; fits && d < slope.size(); ++d) fits = slope[d] == 1 || slope[d] == x[x.size() - slope.size() + d];
  if (!fits) shape_mismatch(view, "slope", "one that broadcasts to " + to_string(x), slope);
  return {x};
}

Cost cost(const NodeView& view) { return elementwise_cost(view, 2); }

void couple(Coupler& coupler, const NodeView& view) {
  const Shape& slope = view.param("slope");
  for (int axis = 1; axis <= static_cast<int>(slope.size()); ++axis) {
    const Atoms& own = coupler.param("slope", -axis);
    if (own.size() == 1) {
      coupler.freeze(own);
    } else {
      coupler.tie_all(coupler.input(0, -axis), own);
    }
  }
  coupler.pass_through();
}

const RegisterOperator registered({"PRelu", infer, cost, couple});

}  // namespace
}  // namespace espalier::prelu_op
