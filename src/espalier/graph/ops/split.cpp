// Split of the attribute `axis` (default: the last) into parts of the attribute `sizes` (packed QKV). Surgery rewrites
// the sizes.
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::split_op {
namespace {

size_t axis_of(const NodeView& view) {
  return checked_axis(view, view.node().integer_or("axis", -1), view.input(0).size());
}

std::vector<Shape> infer(const NodeView& view) {
  const auto& sizes = view.node().integers("sizes");
  const size_t axis = axis_of(view);
  for (int64_t size : sizes)
    if (size < 0) throw UserError(view.node().name, "sizes", "numbers of at least 0", fmt::format("{}", size));
  const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  if (view.input(0)[axis] != total) shape_mismatch(view, "width", fmt::format("{}", total), view.input(0));
  std::vector<Shape> shapes(sizes.size(), view.input(0));
  for (size_t i = 0; i < sizes.size(); ++i) shapes[i][axis] = sizes[i];
  return shapes;
}

Cost cost(const NodeView&) { return {}; }

void couple(Coupler& coupler, const NodeView& view) {
  const int axis = static_cast<int>(axis_of(view));
  const auto& sizes = view.node().integers("sizes");
  int64_t from = 0;
  for (size_t i = 0; i < sizes.size(); from += sizes[i++]) {
    std::vector<int64_t> indices(static_cast<size_t>(sizes[i]));
    std::iota(indices.begin(), indices.end(), from);
    coupler.pick(i, axis, indices);
    coupler.count_output(i, axis, "sizes", i);
  }
}

const RegisterOperator registered({"Split", infer, cost, couple});

}  // namespace
}  // namespace espalier::split_op
