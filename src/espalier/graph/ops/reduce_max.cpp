// ReduceMax: the largest over axes (reduce_rules.h).
#include "espalier/graph/ops/reduce_rules.h"

namespace espalier::reduce_max_op {
namespace {
const RegisterOperator registered({"ReduceMax", infer_reduce, cost_reduce, couple_reduce});
}  // namespace
}  // namespace espalier::reduce_max_op
