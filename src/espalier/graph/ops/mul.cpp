// Mul: with broadcasting; the gate of a gated MLP or of squeeze and excitation.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier::mul_op {
namespace {
const RegisterOperator registered({"Mul", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier::mul_op
