// GlobalAveragePool: the mean over all positions: [n, C, …] → [n, C, 1, …].
#include "espalier/graph/ops/pool_rules.h"

namespace espalier::global_average_pool_op {
namespace {
const RegisterOperator registered({"GlobalAveragePool", infer_global_pool, cost_global_pool, couple_pool});
}  // namespace
}  // namespace espalier::global_average_pool_op
