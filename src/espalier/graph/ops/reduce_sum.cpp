// ReduceSum: the sum over axes (reduce_rules.h).
#include "espalier/graph/ops/reduce_rules.h"

namespace espalier::reduce_sum_op {
namespace {
const RegisterOperator registered({"ReduceSum", infer_reduce, cost_reduce, couple_reduce});
}  // namespace
}  // namespace espalier::reduce_sum_op
