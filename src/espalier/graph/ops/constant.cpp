// Constant: the parameter `value` as a value: an operand of Add, MatMul, Concat and their like. No inputs. Dims of size
// 1 only broadcast, so they are frozen and dead.
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

std::vector<Shape> infer(const NodeView& view) { return {view.param("value")}; }
Cost cost(const NodeView& view) { return {0, view.param_bytes()}; }

void couple(Coupler& coupler, const NodeView& view) {
  const Shape& shape = view.param("value");
  for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
    const Atoms& atoms = coupler.param("value", axis);
    if (atoms.size() == 1) {
      coupler.freeze(atoms);
    } else {
      coupler.set_output(0, axis, atoms);
    }
  }
}

const RegisterOperator registered({"Constant", infer, cost, couple});

}  // namespace
}  // namespace espalier
