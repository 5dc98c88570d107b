// Sub: the first input minus the second, with broadcasting.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::sub_op {
namespace {
const RegisterOperator registered({"Sub", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier::sub_op
