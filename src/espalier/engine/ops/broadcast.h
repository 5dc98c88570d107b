// Loops over elements of several arrangements at once, the inputs broadcast to the output's shape.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "espalier/engine/ops/lowering.h"
#include "espalier/engine/ops/parallel.h"

namespace espalier {

template <size_t kInputs>
class Broadcast {
 public:
  struct Row {
    int64_t to = 0;                             // the output's elements are a run
    std::array<int64_t, kInputs> from{}, by{};  // where each input's begin, and their strides
    int64_t count = 0;
  };

  // The output is dense; inputs may be of fewer dims.
  Broadcast(const View& output, const std::array<View, kInputs>& inputs) {
    std::vector<Dim> dims;
    std::array<Shape, kInputs> strides;
    for (size_t i = 0; i < kInputs; ++i) strides[i] = broadcast_strides(inputs[i], output.shape);
    for (size_t d = 0; d < output.rank(); ++d) {
      if (output.shape[d] == 1) continue;
      Dim dim{output.shape[d], output.strides[d], {}};
      for (size_t i = 0; i < kInputs; ++i) dim.from[i] = strides[i][d];
      dims.push_back(dim);
    }
    std::stable_sort(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) { return a.to > b.to; });
    for (const Dim& dim : dims) {
      if (dims_.empty() || !joins(dims_.back(), dim)) {
        dims_.push_back(dim);
      } else {
        dims_.back() = {dims_.back().size * dim.size, dim.to, dim.from};
      }
    }
    if (dims_.empty()) dims_.push_back({1, 1, {}});
    for (size_t d = 0; d + 1 < dims_.size(); ++d) rows_ *= dims_[d].size;
  }

  // row(Row) for each run along the innermost dim.
  template <typename Fn>
  void run(const Fn& fn) const {
    const Dim& inner = dims_.back();
    if (rows_ == 1) {
      parallel_parts(inner.size, inner.size, [&](int64_t begin, int64_t end) {
        Row row{begin, {}, inner.from, end - begin};
        for (size_t i = 0; i < kInputs; ++i) row.from[i] = begin * inner.from[i];
        fn(row);
      });
      return;
    }
    parallel_parts(rows_, rows_ * inner.size, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        Row row{r * inner.size, {}, inner.from, inner.size};
        int64_t rest = r;
        for (size_t d = dims_.size() - 1; d-- > 0; rest /= dims_[d].size)
          for (size_t i = 0; i < kInputs; ++i) row.from[i] += rest % dims_[d].size * dims_[d].from[i];
        fn(row);
      }
    });
  }

 private:
  struct Dim {
    int64_t size, to;
    std::array<int64_t, kInputs> from;
  };
  static bool joins(const Dim& outer, const Dim& inner) {
    bool fits = outer.to == inner.to * inner.size;
    for (size_t i = 0; i < kInputs; ++i) fits = fits && outer.from[i] == inner.from[i] * inner.size;
    return fits;
  }

  std::vector<Dim> dims_;
  int64_t rows_ = 1;
};

// A place for an elementwise result of these inputs: the arrangement of the first of them that has the output's shape
// without gaps; and, where types and shapes allow it, its very storage.
inline View elementwise_output(Lowering& l, DType dtype, const Shape& shape, const std::vector<View>& inputs) {
  const View* like = nullptr;
  for (const View& input : inputs)
    if (input.shape == shape && is_dense(input) && (!like || l.is_constant(*like))) like = &input;
  for (const View& input : inputs)
    if (input.shape == shape && is_dense(input) && size_of(input.dtype) == size_of(dtype) && l.may_overwrite(input) &&
        like && has_strides(input, like->strides)) {
      View view = input;
      view.dtype = dtype;
      return view;
    }
  return like ? l.make(dtype, shape, like->strides) : l.make(dtype, shape);
}

}  // namespace espalier
