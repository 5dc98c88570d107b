// Reductions over axes: ReduceSum, ReduceMean, ReduceMax, ReduceMin, ArgMax, and the global pools.
#include <limits>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/engine/ops/broadcast.h"

namespace espalier {
namespace {

// The input as rows × reduced × columns, columns being what lies inside all reduced dims, by a copy if it must be.
struct Reduction {
  int64_t rows = 1, reduced = 1, columns = 1;
  View x;
};

std::vector<uint8_t> reduced_dims(Lowering& l, const std::vector<int64_t>& axes, size_t rank) {
  std::vector<uint8_t> reduced(rank, axes.empty());
  for (int64_t axis : axes) reduced[l.axis(axis, rank)] = 1;
  return reduced;
}

// The dims as they lie in memory: kept ones, reduced ones, kept ones.
bool in_three_runs(const View& x, const std::vector<uint8_t>& reduced, Reduction& result) {
  std::vector<size_t> order(x.rank());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x.strides[a] > x.strides[b]; });
  result = {1, 1, 1, x};
  for (size_t d : order) {
    if (x.shape[d] == 1) continue;
    if (reduced[d] && result.columns != 1) return false;
    (reduced[d] ? result.reduced : result.reduced == 1 ? result.rows : result.columns) *= x.shape[d];
  }
  return true;
}

// The output's strides are the input's order of dims without the reduced ones.
Shape kept_strides(const View& x, const std::vector<uint8_t>& reduced) {
  std::vector<size_t> order(x.rank());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x.strides[a] > x.strides[b]; });
  Shape strides(x.rank(), 1);
  int64_t stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    if (!reduced[order[i]]) stride *= x.shape[order[i]];
  }
  return strides;
}

Reduction arranged(Lowering& l, const View& given, const std::vector<uint8_t>& reduced) {
  Reduction result;
  if (is_dense(given) && in_three_runs(given, reduced, result)) return result;
  if (in_three_runs(l.contiguous(given), reduced, result)) return result;
  View permuted{given.dtype, given.shape, Shape(given.rank(), 1), -1, 0};  // kept dims first, then the others
  int64_t stride = 1;
  for (bool of_reduced : {true, false})
    for (size_t d = given.rank(); d-- > 0;)
      if (reduced[d] == of_reduced) {
        permuted.strides[d] = stride;
        stride *= given.shape[d];
      }
  in_three_runs(l.with_strides(given, permuted.strides), reduced, result);
  return result;
}

// fn(x, stride, count) → the result of one output.
template <typename T, typename R, typename Fn>
void reduce(Lowering& l, const View& given, const std::vector<int64_t>& axes, bool keep, DType type, const Fn& fn) {
  const auto reduced = reduced_dims(l, axes, given.rank());
  const Reduction r = arranged(l, given, reduced);
  View y = l.make(type, given.shape, kept_strides(r.x, reduced));
  for (size_t d = given.rank(); d-- > 0;) {
    if (!reduced[d]) continue;
    y.shape[d] = 1;
    if (keep) continue;
    y.shape.erase(y.shape.begin() + static_cast<int64_t>(d));
    y.strides.erase(y.strides.begin() + static_cast<int64_t>(d));
  }
  View room = l.make(type, y.shape);
  y.storage = room.storage;
  l.step({r.x}, {y}, [fn, rows = r.rows, count = r.reduced, columns = r.columns](const StepPointers& p) {
    const T* x = p.input<T>(0);
    R* to = p.output<R>(0);
    parallel_parts(rows * columns, rows * columns * count, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = fn(x + i / columns * count * columns + i % columns, columns, count);
    });
  });
  l.set_output(0, y);
}

template <typename T>
struct Sum {
  T operator()(const T* x, int64_t stride, int64_t count) const {
    if constexpr (std::is_same_v<T, float>) {
      double sum = 0;
      for (int64_t i = 0; i < count; ++i) sum += x[i * stride];
      return static_cast<float>(sum);
    }
    T sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += x[i * stride];
    return sum;
  }
};

template <typename T, bool kMaximum>
struct Extreme {
  T operator()(const T* x, int64_t stride, int64_t count) const {
    T best = x[0];
    for (int64_t i = 1; i < count; ++i) {
      const T value = x[i * stride];
      if (value != value || (kMaximum ? value > best : value < best)) best = value;
      if (best != best) return best;
    }
    return best;
  }
};

void check_not_empty(const Lowering& l) {
  if (l.input(0).count() == 0 && element_count(l.output_shape()) > 0)
    throw UserError(l.node().name, "input", "at least one element to choose from", to_string(l.input(0).shape));
}

bool keeps(const Lowering& l) { return l.node().flag_or("keepdims", true); }
std::vector<int64_t> axes_of(const Lowering& l) { return l.node().integers_or("axes", {}); }

void lower_sum(Lowering& l) {
  if (l.input(0).dtype == DType::kF32)
    return reduce<float, float>(l, l.input(0), axes_of(l), keeps(l), DType::kF32, Sum<float>{});
  reduce<int64_t, int64_t>(l, l.as_type(l.input(0), DType::kI64), axes_of(l), keeps(l), DType::kI64, Sum<int64_t>{});
}

template <bool kMaximum>
void lower_extreme(Lowering& l) {
  check_not_empty(l);
  const View& x = l.input(0);
  if (x.dtype == DType::kF32)
    return reduce<float, float>(l, x, axes_of(l), keeps(l), x.dtype, Extreme<float, kMaximum>{});
  if (x.dtype == DType::kI64)
    return reduce<int64_t, int64_t>(l, x, axes_of(l), keeps(l), x.dtype, Extreme<int64_t, kMaximum>{});
  reduce<uint8_t, uint8_t>(l, x, axes_of(l), keeps(l), x.dtype, Extreme<uint8_t, kMaximum>{});
}

void mean_over(Lowering& l, const std::vector<int64_t>& axes, bool keep) {
  reduce<float, float>(l, l.as_type(l.input(0), DType::kF32), axes, keep, DType::kF32,
                       [](const float* x, int64_t stride, int64_t count) {
                         double sum = 0;
                         for (int64_t i = 0; i < count; ++i) sum += x[i * stride];
                         return static_cast<float>(sum / static_cast<double>(count));
                       });
}

template <typename T>
int64_t first_largest(const T* x, int64_t stride, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; ++i) {
    if (x[best * stride] != x[best * stride]) return best;
    if (x[i * stride] > x[best * stride] || x[i * stride] != x[i * stride]) best = i;
  }
  return best;
}

void lower_arg_max(Lowering& l) {
  check_not_empty(l);
  const View& x = l.input(0);
  if (x.dtype == DType::kF32)
    return reduce<float, int64_t>(l, x, axes_of(l), keeps(l), DType::kI64, first_largest<float>);
  reduce<int64_t, int64_t>(l, l.as_type(x, DType::kI64), axes_of(l), keeps(l), DType::kI64, first_largest<int64_t>);
}

std::vector<int64_t> spatial_axes(const Lowering& l) {
  std::vector<int64_t> axes;
  for (size_t d = 2; d < l.input(0).rank(); ++d) axes.push_back(static_cast<int64_t>(d));
  return axes;
}

const RegisterLowering sum("ReduceSum", lower_sum);
const RegisterLowering mean("ReduceMean", [](Lowering& l) { mean_over(l, axes_of(l), keeps(l)); });
const RegisterLowering maximum("ReduceMax", lower_extreme<true>);
const RegisterLowering minimum("ReduceMin", lower_extreme<false>);
const RegisterLowering arg_max("ArgMax", lower_arg_max);
const RegisterLowering global_average("GlobalAveragePool", [](Lowering& l) { mean_over(l, spatial_axes(l), true); });
const RegisterLowering global_max("GlobalMaxPool", [](Lowering& l) {
  reduce<float, float>(l, l.as_type(l.input(0), DType::kF32), spatial_axes(l), true, DType::kF32,
                       Extreme<float, true>{});
});

}  // namespace
}  // namespace espalier
