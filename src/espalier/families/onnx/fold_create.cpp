// Folding of operators that make tensors from shapes, and of reductions.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "espalier/families/onnx/fold.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier::fold_create {
namespace {

std::vector<Known> constant_of_shape(const FoldCall& call) {
  if (!call.has(0) || call.input(0).real()) return {};
  const Shape shape = call.input(0).ints;
  const int64_t count = count_of(shape);
  if (count < 0) return {};
  Known value{OnnxDataType::kFloat, {1}, {}, {0}};
  if (const OnnxTensor* given = tensor_attribute(call.node, "value", call.where)) {
    if (onnx_element_count(given->dims, call.where, "value") != 1) return {};
    value = known_from(to_tensor(*given, call.where), given->data_type);
  }
  Known out = empty_like(value, shape);
  for (int64_t i = 0; i < count; ++i) append(out, value, 0);
  return {std::move(out)};
}

std::vector<Known> range(const FoldCall& call) {
  for (size_t i = 0; i < 3; ++i)
    if (!call.has(i) || call.input(i).count() != 1 || call.input(i).type != call.input(0).type) return {};
  const double start = call.input(0).number(0), limit = call.input(1).number(0), delta = call.input(2).number(0);
  if (delta == 0 || !std::isfinite(start) || !std::isfinite(limit) || !std::isfinite(delta)) return {};
  const double count = std::max(0.0, std::ceil((limit - start) / delta));
  if (count > static_cast<double>(kMostKnown)) return {};
  Known out = empty_like(call.input(0), {static_cast<int64_t>(count)});
  for (int64_t i = 0; i < out.shape[0]; ++i) {
    if (out.real()) out.reals.push_back(rounded(out.type, start + static_cast<double>(i) * delta));
    if (!out.real())
      out.ints.push_back(static_cast<int64_t>(static_cast<uint64_t>(call.input(0).ints[0]) +
                                              static_cast<uint64_t>(i) * static_cast<uint64_t>(call.input(2).ints[0])));
  }
  return {std::move(out)};
}

std::vector<Known> non_zero(const FoldCall& call) {
  if (!call.has(0)) return {};
  const Known& x = call.input(0);
  const size_t rank = x.shape.size();
  std::vector<std::vector<int64_t>> coordinates(rank);
  int64_t found = 0;
  for_each_index(x.shape, [&](int64_t i, const Shape& at) {
    if (x.number(static_cast<size_t>(i)) == 0) return;
    ++found;
    for (size_t d = 0; d < rank; ++d) coordinates[d].push_back(at[d]);
  });
  Known out{OnnxDataType::kInt64, {static_cast<int64_t>(rank), found}, {}, {}};
  if (count_of(out.shape) < 0) return {};
  for (const auto& list : coordinates) out.ints.insert(out.ints.end(), list.begin(), list.end());
  return {std::move(out)};
}

// One number of a list.
double reduced(const std::string& op, const std::vector<double>& values) {
  if (op == "ReduceProd") return std::accumulate(values.begin(), values.end(), 1.0, std::multiplies<>());
  if (op == "ReduceMax") return *std::max_element(values.begin(), values.end());
  if (op == "ReduceMin") return *std::min_element(values.begin(), values.end());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return op == "ReduceMean" ? sum / static_cast<double>(values.size()) : sum;
}

int64_t reduced_integer(const std::string& op, const std::vector<int64_t>& values) {
  if (op == "ReduceMax") return *std::max_element(values.begin(), values.end());
  if (op == "ReduceMin") return *std::min_element(values.begin(), values.end());
  uint64_t result = op == "ReduceProd" ? 1 : 0;
  for (int64_t value : values)
    result = op == "ReduceProd" ? result * static_cast<uint64_t>(value) : result + static_cast<uint64_t>(value);
  return static_cast<int64_t>(result);
}

// All elements to one, or along one axis.
std::vector<Known> reduce(const FoldCall& call) {
  if (!call.has(0) || call.input(0).count() == 0) return {};
  const Known& x = call.input(0);
  const auto axes = call.integers(1, "axes");
  const bool keep = call.integer("keepdims", 1) != 0;
  if (axes.empty() && call.integer("noop_with_empty_axes", 0) != 0) return {x};
  std::vector<uint8_t> gone(x.shape.size(), axes.empty());
  for (int64_t axis : axes) {
    if (!normalise_axis(axis, x.shape.size())) return {};
    gone[static_cast<size_t>(axis)] = 1;
  }
  if (!x.real() && call.node.op_type == "ReduceMean") return {};
  Shape full = x.shape, shape;
  for (size_t d = 0; d < gone.size(); ++d) {
    if (gone[d]) full[d] = 1;
    if (!gone[d] || keep) shape.push_back(full[d]);
  }
  const Shape strides = strides_of(full);
  const auto count = static_cast<size_t>(count_of(full));
  std::vector<std::vector<double>> reals(x.real() ? count : 0);
  std::vector<std::vector<int64_t>> ints(x.real() ? 0 : count);
  for_each_index(x.shape, [&](int64_t i, const Shape& at) {
    const auto to = static_cast<size_t>(broadcast_index(at, full, strides));
    if (x.real()) reals[to].push_back(x.reals[static_cast<size_t>(i)]);
    if (!x.real()) ints[to].push_back(x.ints[static_cast<size_t>(i)]);
  });
  Known out = empty_like(x, shape);
  for (const auto& list : reals) out.reals.push_back(rounded(x.type, reduced(call.node.op_type, list)));
  for (const auto& list : ints) out.ints.push_back(reduced_integer(call.node.op_type, list));
  return {std::move(out)};
}

std::vector<Known> cumulative_sum(const FoldCall& call) {
  if (!call.has(0) || !call.has(1) || call.input(1).ints.size() != 1) return {};
  if (call.integer("exclusive", 0) != 0 || call.integer("reverse", 0) != 0) return {};
  Known out = call.input(0);
  int64_t axis = call.input(1).ints[0];
  if (!normalise_axis(axis, out.shape.size())) return {};
  const auto stride = static_cast<size_t>(strides_of(out.shape)[static_cast<size_t>(axis)]);
  for_each_index(out.shape, [&](int64_t i, const Shape& at) {
    const auto to = static_cast<size_t>(i);
    if (at[static_cast<size_t>(axis)] == 0) return;
    if (out.real()) out.reals[to] = rounded(out.type, out.reals[to] + out.reals[to - stride]);
    if (!out.real())
      out.ints[to] =
          static_cast<int64_t>(static_cast<uint64_t>(out.ints[to]) + static_cast<uint64_t>(out.ints[to - stride]));
  });
  return {std::move(out)};
}

const RegisterFolder registered[] = {
    {"ConstantOfShape", constant_of_shape},
    {"Range", range},
    {"NonZero", non_zero},
    {"ReduceProd", reduce},
    {"ReduceSum", reduce},
    {"ReduceMax", reduce},
    {"ReduceMin", reduce},
    {"ReduceMean", reduce},
    {"CumSum", cumulative_sum},
};

}  // namespace
}  // namespace espalier::fold_create
