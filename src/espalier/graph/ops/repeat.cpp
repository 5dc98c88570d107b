// Repeat: each index of the attribute `axis` `repeats` times in a row (K and V of grouped queries). Index i · r + q of
// the output takes index i.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::repeat_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  const int64_t repeats = view.node().integer("repeats");
  if (repeats < 1 || repeats > (int64_t{1} << 31))
    throw UserError(view.node().name, "repeats", "1 to 2^31", fmt::format("{}", repeats));
  int64_t& size = shape[checked_axis(view, view.node().integer("axis"), shape.size())];
  size = size_product(view, size, repeats);
  return {shape};
}

Cost cost(const NodeView&) { return {}; }

void couple(Coupler& coupler, const NodeView& view) {
  const int axis = static_cast<int>(checked_axis(view, view.node().integer("axis"), view.input(0).size()));
  const auto repeats = static_cast<size_t>(view.node().integer("repeats"));
  coupler.pass_through();
  const Atoms& from = coupler.input(0, axis);
  Atoms atoms(from.size() * repeats);
  for (size_t v = 0; v < atoms.size(); ++v) atoms[v] = from[v / repeats];
  coupler.set_output(0, axis, std::move(atoms));
}

const RegisterOperator registered({"Repeat", infer, cost, couple});

}  // namespace
}  // namespace espalier::repeat_op
