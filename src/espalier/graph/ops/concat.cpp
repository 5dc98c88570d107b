// Concat of any number of inputs on the attribute `axis`. An input that is dead there contributes frozen positions.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::concat_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  check_rank(view, shape, 1, 16);
  const size_t axis = checked_axis(view, view.node().integer("axis"), shape.size());
  for (size_t i = 1; i < view.node().inputs.size(); ++i) {
    Shape other = view.input(i);
    if (other.size() != shape.size()) shape_mismatch(view, "input", fmt::format("{} dims", shape.size()), other);
    shape[axis] += other[axis];
    other[axis] = shape[axis];
    if (other != shape) shape_mismatch(view, "input", to_string(view.input(0)) + " but for the axis", view.input(i));
  }
  return {shape};
}

Cost cost(const NodeView&) { return {}; }

void couple(Coupler& coupler, const NodeView& view) {
  const int rank = static_cast<int>(view.output(0).size());
  const int axis = static_cast<int>(checked_axis(view, view.node().integer("axis"), static_cast<size_t>(rank)));
  const size_t inputs = view.node().inputs.size();
  for (int d = 0; d < rank; ++d) {
    bool live = false, dead = false;
    for (size_t i = 0; i < inputs; ++i) (coupler.input(i, d).empty() ? dead : live) = true;
    if (!live) continue;
    Atoms atoms;
    for (size_t i = 0; i < inputs; ++i) {
      const Atoms& own = coupler.input(i, d);
      if (d != axis) {
        if (dead) coupler.freeze(own);
        if (atoms.empty()) atoms = own;
        if (!own.empty()) coupler.tie_all(atoms, own);
      } else {
        const auto size = static_cast<size_t>(view.input(i)[static_cast<size_t>(d)]);
        const Atoms part = own.empty() ? coupler.fresh_frozen(size) : own;
        atoms.insert(atoms.end(), part.begin(), part.end());
      }
    }
    coupler.set_output(0, d, std::move(atoms));
  }
}

const RegisterOperator registered({"Concat", infer, cost, couple});

}  // namespace
}  // namespace espalier::concat_op
