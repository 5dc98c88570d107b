// Gather with constant indices: `indices` (negative ones count from the end) of the attribute `axis`. With the flag
// `scalar` there is one index and the axis goes. Rows by run-time ids are an Embedding; indices of more dims want a
// Reshape after it. With the flag `table` the axis counts rows of a table (positions, token types), which stay even
// where these indices leave some out.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::gather_op {
namespace {

std::vector<int64_t> indices_of(const NodeView& view, size_t axis) {
  std::vector<int64_t> indices = view.node().integers("indices");
  const int64_t size = view.input(0)[axis];
  for (int64_t& index : indices) {
    if (index < -size || index >= size)
      throw UserError(view.node().name, "indices", fmt::format("{} to {}", -size, size - 1), fmt::format("{}", index));
    if (index < 0) index += size;
  }
  if (view.node().flag_or("scalar", false) && indices.size() != 1)
    throw UserError(view.node().name, "indices", "one, as it is scalar", fmt::format("{}", indices.size()));
  return indices;
}

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  const size_t axis = checked_axis(view, view.node().integer("axis"), shape.size());
  shape[axis] = std::ssize(indices_of(view, axis));
  if (view.node().flag_or("scalar", false)) shape.erase(shape.begin() + static_cast<int64_t>(axis));
  return {shape};
}

Cost cost(const NodeView&) { return {}; }

void couple(Coupler& coupler, const NodeView& view) {
  const size_t axis = checked_axis(view, view.node().integer("axis"), view.input(0).size());
  const auto indices = indices_of(view, axis);
  if (view.node().flag_or("table", false)) coupler.freeze(coupler.input(0, static_cast<int>(axis)));
  coupler.pick(0, static_cast<int>(axis), indices);
  coupler.addresses(static_cast<int>(axis), indices);
}

const RegisterOperator registered({"Gather", infer, cost, couple});

}  // namespace
}  // namespace espalier::gather_op
