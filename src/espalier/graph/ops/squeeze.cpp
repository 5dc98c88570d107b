// Squeeze: takes away the `axes`, which have size 1.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::squeeze_op {
namespace {

std::vector<int> remaining(const NodeView& view) {
  const Shape& x = view.input(0);
  std::vector<uint8_t> gone(x.size(), 0);
  for (int64_t given : view.node().integers("axes")) {
    const size_t axis = checked_axis(view, given, x.size());
    if (x[axis] != 1)
      throw UserError(view.node().name, fmt::format("size of axis {}", axis), "1", fmt::format("{}", x[axis]));
    gone[axis] = 1;
  }
  std::vector<int> dims;
  for (size_t d = 0; d < x.size(); ++d)
    if (!gone[d]) dims.push_back(static_cast<int>(d));
  return dims;
}

std::vector<Shape> infer(const NodeView& view) {
  Shape shape;
  for (int dim : remaining(view)) shape.push_back(view.input(0)[static_cast<size_t>(dim)]);
  return {shape};
}

Cost cost(const NodeView&) { return {}; }
void couple(Coupler& coupler, const NodeView& view) { coupler.map_dims(remaining(view)); }

const RegisterOperator registered({"Squeeze", infer, cost, couple});

}  // namespace
}  // namespace espalier::squeeze_op
