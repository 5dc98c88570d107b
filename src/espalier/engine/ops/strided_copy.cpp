#include "espalier/engine/ops/strided_copy.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/engine/ops/parallel.h"

namespace espalier {
namespace {

struct Dim {
  int64_t size, from, to;
};

// Dims in the order of the target, outermost first, those that lie one inside the other in both joined.
std::vector<Dim> joined_dims(const Shape& shape, const Shape& from, const Shape& to) {
  std::vector<Dim> dims;
  for (size_t d = 0; d < shape.size(); ++d)
    if (shape[d] != 1) dims.push_back({shape[d], from[d], to[d]});
  std::stable_sort(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) { return a.to > b.to; });
  std::vector<Dim> joined;
  for (const Dim& dim : dims) {
    Dim* outer = joined.empty() ? nullptr : &joined.back();
    if (outer && outer->from == dim.from * dim.size && outer->to == dim.to * dim.size) {
      *outer = {outer->size * dim.size, dim.from, dim.to};
    } else {
      joined.push_back(dim);
    }
  }
  return joined;
}

}  // namespace

StridedCopy::StridedCopy(const Shape& shape, const Shape& from, const Shape& to, size_t size) : size_(size) {
  std::vector<Dim> dims = joined_dims(shape, from, to);
  if (!dims.empty()) {
    columns_ = dims.back().size;
    column_from_ = dims.back().from;
    column_to_ = dims.back().to;
    dims.pop_back();
  }
  // A transposition runs fastest over tiles of the dims that are innermost on either side.
  auto row = std::find_if(dims.begin(), dims.end(), [&](const Dim& d) { return column_from_ != 1 && d.from == 1; });
  if (row == dims.end() && !dims.empty()) row = dims.end() - 1;
  if (row != dims.end()) {
    rows_ = row->size;
    row_from_ = row->from;
    row_to_ = row->to;
    dims.erase(row);
  }
  for (const Dim& dim : dims) {
    outer_.push_back(dim.size);
    outer_from_.push_back(dim.from);
    outer_to_.push_back(dim.to);
    planes_ *= dim.size;
  }
}

template <typename T>
void StridedCopy::copy_plane(const T* source, T* target, int64_t rows) const {
  if (column_from_ == 1 && column_to_ == 1) {
    for (int64_t r = 0; r < rows; ++r)
      std::memcpy(target + r * row_to_, source + r * row_from_, static_cast<size_t>(columns_) * sizeof(T));
    return;
  }
  constexpr int64_t kTile = 16;
  for (int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (int64_t c0 = 0; c0 < columns_; c0 += kTile) {
      const int64_t last_row = std::min(rows, r0 + kTile), last_column = std::min(columns_, c0 + kTile);
      for (int64_t r = r0; r < last_row; ++r)
        for (int64_t c = c0; c < last_column; ++c)
          target[r * row_to_ + c * column_to_] = source[r * row_from_ + c * column_from_];
    }
}

template <typename T>
void StridedCopy::run_as(const T* source, T* target) const {
  auto planes = [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      int64_t rest = plane, from = 0, to = 0;
      for (size_t d = outer_.size(); d-- > 0;) {
        from += rest % outer_[d] * outer_from_[d];
        to += rest % outer_[d] * outer_to_[d];
        rest /= outer_[d];
      }
      copy_plane(source + from, target + to, rows_);
    }
  };
  const int64_t work = planes_ * rows_ * columns_;
  if (planes_ > 1) {
    parallel_parts(planes_, work, planes);
    return;
  }
  parallel_parts(rows_, work, [&](int64_t begin, int64_t end) {
    copy_plane(source + begin * row_from_, target + begin * row_to_, end - begin);
  });
}

void StridedCopy::run(const std::byte* source, std::byte* target) const {
  if (std::count(outer_.begin(), outer_.end(), 0) > 0 || rows_ == 0 || columns_ == 0) return;
  switch (size_) {
    case 1:
      return run_as(reinterpret_cast<const uint8_t*>(source), reinterpret_cast<uint8_t*>(target));
    case 4:
      return run_as(reinterpret_cast<const uint32_t*>(source), reinterpret_cast<uint32_t*>(target));
    case 8:
      return run_as(reinterpret_cast<const uint64_t*>(source), reinterpret_cast<uint64_t*>(target));
    default:
      ESP_ASSERT(false, "elements of {} bytes", size_);
  }
}

}  // namespace espalier
