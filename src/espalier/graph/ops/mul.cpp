// Mul: the gate of a gated MLP.
#include "espalier/graph/ops/binary_rules.h"

namespace espalier {
namespace {
const RegisterOperator registered({"Mul", infer_binary, cost_binary, couple_binary});
}  // namespace
}  // namespace espalier
