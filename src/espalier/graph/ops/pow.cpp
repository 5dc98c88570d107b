// Pow: the first input to the power of the second, with broadcasting.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::pow_op {
namespace {
const RegisterOperator registered({"Pow", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier::pow_op
