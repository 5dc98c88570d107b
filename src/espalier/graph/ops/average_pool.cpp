// AveragePool: the mean of each window. Attributes: pool_rules.h and the flag `count_include_pad` (default false).
#include "espalier/graph/ops/pool_rules.h"

namespace espalier::average_pool_op {
namespace {
const RegisterOperator registered({"AveragePool", infer_pool, cost_pool, couple_pool});
}  // namespace
}  // namespace espalier::average_pool_op
