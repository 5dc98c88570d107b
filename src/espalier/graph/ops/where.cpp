// Where: the second input where the first is true (or not 0), else the third, with broadcasting.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::where_op {
namespace {
const RegisterOperator registered({"Where", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier::where_op
