// Compare: two inputs, with broadcasting, give a bool. The attribute `kind`: equal, less, less_or_equal, greater,
// greater_or_equal, and, or, xor.
#include <algorithm>
#include <array>

#include "espalier/core/error.h"
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::compare_op {
namespace {

constexpr std::array kKinds = {"equal", "less", "less_or_equal", "greater", "greater_or_equal", "and", "or", "xor"};

std::vector<Shape> infer(const NodeView& view) {
  const std::string kind = view.node().text_or("kind", "");
  if (std::find(kKinds.begin(), kKinds.end(), kind) == kKinds.end())
    throw UserError(view.node().name, "kind", fmt::format("one of {}", fmt::join(kKinds, ", ")), printable(kind));
  return infer_binary(view);
}

const RegisterOperator registered({"Compare", infer, cost_binary, couple_binary});

}  // namespace
}  // namespace espalier::compare_op
