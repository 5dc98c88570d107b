// RMSNorm: x / sqrt(mean(x²) + epsilon) · weight, over the last dim or over each head.
#include "espalier/graph/ops/norm_rules.h"

namespace espalier::rms_norm_op {
namespace {

Cost cost(const NodeView& view) { return elementwise_cost(view, 4); }

const RegisterOperator registered({"RMSNorm", infer_norm, cost, couple_norm});

}  // namespace
}  // namespace espalier::rms_norm_op
