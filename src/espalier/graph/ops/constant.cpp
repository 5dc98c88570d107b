// Constant: an operand of Add, MatMul, Concat and their like. No inputs. Either the parameter `value`, or, for what is no
// weight (a mask, a factor), the attributes `shape` and `values` (real list). Dims of size 1 only broadcast, so they are
// frozen and dead; so are those of the integer list `fixed_axes` (rows of a table that are looked up by number).
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::constant_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  if (view.node().has_param("value")) return {view.param("value")};
  const Shape& shape = view.node().integers("shape");
  const auto& values = std::get<std::vector<double>>(view.node().attributes.at("values"));
  if (element_count(shape) != std::ssize(values))
    throw UserError(view.node().name, "values", fmt::format("{}", element_count(shape)),
                    fmt::format("{}", values.size()));
  return {shape};
}

Cost cost(const NodeView& view) { return {0, view.param_bytes()}; }

void couple(Coupler& coupler, const NodeView& view) {
  if (!view.node().has_param("value")) return;
  const Shape& shape = view.param("value");
  const auto fixed = view.node().integers_or("fixed_axes", {});
  for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
    const Atoms& atoms = coupler.param("value", axis);
    if (atoms.size() == 1 || std::count(fixed.begin(), fixed.end(), axis) > 0) {
      coupler.freeze(atoms);
    } else {
      coupler.set_output(0, axis, atoms);
    }
  }
}

const RegisterOperator registered({"Constant", infer, cost, couple});

}  // namespace
}  // namespace espalier::constant_op
