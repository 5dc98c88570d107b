// Min: the smaller of two inputs, with broadcasting.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::min_op {
namespace {
const RegisterOperator registered({"Min", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier::min_op
