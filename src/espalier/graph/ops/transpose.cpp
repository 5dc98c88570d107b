// Transpose: dim i of the output is dim perm[i] of the input.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::transpose_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const Shape& x = view.input(0);
  const auto& perm = view.node().integers("perm");
  std::vector<uint8_t> seen(x.size(), 0);
  bool fits = perm.size() == x.size();
  for (size_t i = 0; fits && i < perm.size(); ++i)
    fits = perm[i] >= 0 && perm[i] < std::ssize(x) && !seen[static_cast<size_t>(perm[i])]++;
  if (!fits)
    throw UserError(view.node().name, "perm", fmt::format("a permutation of {} dims", x.size()),
                    fmt::format("[{}]", fmt::join(perm, ", ")));
  Shape shape;
  for (int64_t axis : perm) shape.push_back(x[static_cast<size_t>(axis)]);
  return {shape};
}

Cost cost(const NodeView&) { return {}; }
void couple(Coupler& coupler, const NodeView& view) {
  const auto& perm = view.node().integers("perm");
  coupler.map_dims({perm.begin(), perm.end()});
}

const RegisterOperator registered({"Transpose", infer, cost, couple});

}  // namespace
}  // namespace espalier::transpose_op
