// ReduceMin: the smallest over axes (reduce_rules.h).
#include "espalier/graph/ops/reduce_rules.h"

namespace espalier::reduce_min_op {
namespace {
const RegisterOperator registered({"ReduceMin", infer_reduce, cost_reduce, couple_reduce});
}  // namespace
}  // namespace espalier::reduce_min_op
