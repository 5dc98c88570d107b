// LayerNorm over the last dim: (x − mean) / sqrt(var + epsilon) · weight + bias.
#include "espalier/graph/ops/norm_rules.h"

namespace espalier::layer_norm_op {
namespace {

Cost cost(const NodeView& view) { return elementwise_cost(view, 7); }

const RegisterOperator registered({"LayerNorm", infer_norm, cost, couple_norm});

}  // namespace
}  // namespace espalier::layer_norm_op
