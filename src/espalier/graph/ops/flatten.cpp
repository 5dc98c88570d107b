// Flatten to two dims: those before the attribute `axis` (default 1, up to the rank) and those from it on.
#include <functional>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::flatten_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const Shape& x = view.input(0);
  const int64_t rank = std::ssize(x), given = view.node().integer_or("axis", 1);
  if (given < -rank || given > rank)
    throw UserError(view.node().name, "axis", fmt::format("{} to {}", -rank, rank), fmt::format("{}", given));
  const auto at = x.begin() + (given < 0 ? given + rank : given);
  return {{std::accumulate(x.begin(), at, int64_t{1}, std::multiplies<>()),
           std::accumulate(at, x.end(), int64_t{1}, std::multiplies<>())}};
}

Cost cost(const NodeView&) { return {}; }
void couple(Coupler& coupler, const NodeView&) { coupler.reshape(""); }

const RegisterOperator registered({"Flatten", infer, cost, couple});

}  // namespace
}  // namespace espalier::flatten_op
