// Reductions.
#include "espalier/families/onnx/import_ops.h"

namespace espalier::ops_reduce {
namespace {

// Axes as the graph's reductions take them; nothing: the operator leaves its input as it is.
std::optional<std::map<std::string, Attribute>> reduction(NodeImport& n) {
  const auto axes = n.integers(1, "axes").value_or(std::vector<int64_t>{});
  if (axes.empty() && n.integer("noop_with_empty_axes", 0) != 0) return std::nullopt;
  for (int64_t axis : axes) n.axis(axis, n.rank(0));
  return std::map<std::string, Attribute>{{"axes", axes}, {"keepdims", n.integer("keepdims", 1) != 0}};
}

void reduce(NodeImport& n) {
  auto attributes = reduction(n);
  if (!attributes) return n.alias();
  n.give(n.op_type(), {n.value(0)}, std::move(*attributes));
}

ValueId function(NodeImport& n, const char* kind, ValueId x) {
  return n.add(kind, "Activation", {x}, {{"kind", std::string(kind)}});
}

// A sum of something, of which something may be taken.
void reduce_sum_of(NodeImport& n) {
  auto attributes = reduction(n);
  if (!attributes) NodeImport::not_understood("it reduces nothing");
  const std::string& op = n.op_type();
  const ValueId x = n.value(0);
  const ValueId part = op == "ReduceL1"       ? function(n, "abs", x)
                       : op == "ReduceLogSum" ? x
                                              : n.add("square", "Mul", {x, x});
  const char* outer = op == "ReduceL2" ? "sqrt" : op == "ReduceLogSum" ? "log" : nullptr;
  if (!outer) return n.give("ReduceSum", {part}, std::move(*attributes));
  const ValueId sum = n.add("sum", "ReduceSum", {part}, std::move(*attributes));
  n.give("Activation", {sum}, {{"kind", std::string(outer)}});
}

void arg_extreme(NodeImport& n) {
  if (n.integer("select_last_index", 0) != 0) NodeImport::not_understood("it takes the last among equals");
  const auto axis = static_cast<int64_t>(n.axis(n.integer("axis", 0), n.rank(0)));
  const ValueId x = n.op_type() == "ArgMin" ? function(n, "neg", n.value(0)) : n.value(0);
  n.set_type(OnnxDataType::kInt64);
  n.give("ArgMax", {x}, {{"axes", std::vector<int64_t>{axis}}, {"keepdims", n.integer("keepdims", 1) != 0}});
}

const RegisterOnnxImport registered[] = {
    {"ReduceMean", reduce},
    {"ReduceSum", reduce},
    {"ReduceMax", reduce},
    {"ReduceMin", reduce},
    {"ReduceL1", reduce_sum_of},
    {"ReduceL2", reduce_sum_of},
    {"ReduceSumSquare", reduce_sum_of},
    {"ReduceLogSum", reduce_sum_of},
    {"ArgMax", arg_extreme},
    {"ArgMin", arg_extreme},
};

}  // namespace
}  // namespace espalier::ops_reduce
