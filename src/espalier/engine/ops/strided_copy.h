// Copies between two arrangements of the same elements: transposition, slices, repetition (stride 0), joining.
#pragma once

#include <cstddef>
#include <cstdint>

#include "espalier/core/tensor.h"

namespace espalier {

class StridedCopy {
 public:
  // Strides in elements of `size` bytes (1, 4 or 8).
  StridedCopy(const Shape& shape, const Shape& from, const Shape& to, size_t size);
  void run(const std::byte* source, std::byte* target) const;

 private:
  template <typename T>
  void run_as(const T* source, T* target) const;
  template <typename T>
  void copy_plane(const T* source, T* target, int64_t rows) const;

  // The two innermost dims, and those around them. `inner` is the last in the order of the target.
  Shape outer_, outer_from_, outer_to_;
  int64_t rows_ = 1, row_from_ = 0, row_to_ = 0, columns_ = 1, column_from_ = 0, column_to_ = 0;
  int64_t planes_ = 1;
  size_t size_;
};

}  // namespace espalier
