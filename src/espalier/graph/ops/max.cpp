// Max: the larger of two inputs, with broadcasting.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::max_op {
namespace {
const RegisterOperator registered({"Max", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier::max_op
