// Div: the first input by the second, with broadcasting.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::div_op {
namespace {
const RegisterOperator registered({"Div", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier::div_op
