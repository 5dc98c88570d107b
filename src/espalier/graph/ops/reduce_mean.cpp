// ReduceMean: the mean over axes (reduce_rules.h).
#include "espalier/graph/ops/reduce_rules.h"

namespace espalier::reduce_mean_op {
namespace {
const RegisterOperator registered({"ReduceMean", infer_reduce, cost_reduce, couple_reduce});
}  // namespace
}  // namespace espalier::reduce_mean_op
