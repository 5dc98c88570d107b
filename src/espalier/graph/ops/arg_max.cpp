// ArgMax over one axis (`axes` holds it; reduce_rules.h): int64 indices, the first among equals.
#include "espalier/core/error.h"
#include "espalier/graph/ops/reduce_rules.h"

namespace espalier::arg_max_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const auto& axes = view.node().integers("axes");
  if (axes.size() != 1) throw UserError(view.node().name, "axes", "one axis", fmt::format("{}", axes.size()));
  return infer_reduce(view);
}

const RegisterOperator registered({"ArgMax", infer, cost_reduce, couple_reduce});

}  // namespace
}  // namespace espalier::arg_max_op
