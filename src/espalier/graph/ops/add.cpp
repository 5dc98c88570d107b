// Add: with broadcasting; the residual rule of coupling.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::add_op {
namespace {
const RegisterOperator registered({"Add", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier::add_op
