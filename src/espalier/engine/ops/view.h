// A value of a compiled graph: elements of a storage under strides, so that Transpose, Slice, Expand and their like
// cost nothing and channels-last pictures are only another order of strides.
#pragma once

#include <cstdint>
#include <optional>

#include "espalier/core/tensor.h"

namespace espalier {

struct View {
  DType dtype = DType::kF32;  // kF32, kI64 or kBool
  Shape shape, strides;       // elements; a stride of 0 repeats
  int storage = -1;
  int64_t offset = 0;  // elements

  int64_t count() const { return element_count(shape); }
  size_t rank() const { return shape.size(); }
};

Shape contiguous_strides(const Shape& shape);
// [n, c, …] with the channels next to each other.
Shape channels_last_strides(const Shape& shape);

// Whether the strides agree, but for dims of size 1, whose strides never matter.
bool has_strides(const View& view, const Shape& strides);
inline bool is_contiguous(const View& view) { return has_strides(view, contiguous_strides(view.shape)); }
inline bool is_channels_last(const View& view) {
  return view.rank() >= 3 && has_strides(view, channels_last_strides(view.shape));
}
// Whether the elements fill one run of the storage in some order of the dims.
bool is_dense(const View& view);

// The same elements in order under another shape, if strides can say so.
std::optional<View> reshaped(const View& view, const Shape& shape);

// Strides of `view` for an output that it broadcasts to.
Shape broadcast_strides(const View& view, const Shape& shape);

}  // namespace espalier
