// MaxPool: the largest of each window; padding never wins. Attributes: pool_rules.h.
#include "espalier/graph/ops/pool_rules.h"

namespace espalier::max_pool_op {
namespace {
const RegisterOperator registered({"MaxPool", infer_pool, cost_pool, couple_pool});
}  // namespace
}  // namespace espalier::max_pool_op
