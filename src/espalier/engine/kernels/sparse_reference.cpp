// The plain kernels that the others are held to: one value after the other, summed in double.
#include <cstring>

#include "espalier/core/dtype.h"
#include "espalier/engine/kernels/sparse_view.h"

namespace espalier::sparse {
namespace {

template <Code kCode>
float value_at(const View& view, int64_t row, int64_t column, int64_t i) {
  switch (kCode) {
    case Code::kF32: return static_cast<const float*>(view.values)[i];
    case Code::kBF16: return bf16_to_float(static_cast<const uint16_t*>(view.values)[i]);
    case Code::kF16: return f16_to_float(static_cast<const uint16_t*>(view.values)[i]);
    case Code::kI8: return static_cast<const int8_t*>(view.values)[i] * view.scales[row * view.scale_stride];
    case Code::kI8Groups:
      return static_cast<const int8_t*>(view.values)[i] * view.scales[row * view.scale_stride + (column >> view.group_shift)];
  }
}

// visit(column, value) for each stored value of a row, columns ascending; a block's may lie beyond the last column.
template <Kind kKind, Code kCode, typename Visit>
void for_each_value(const View& view, int64_t row, Visit visit) {
  if constexpr (kKind == Kind::kBlocks) {
    for (int64_t block = view.offsets[row]; block < view.offsets[row + 1]; ++block)
      for (int64_t i = 0; i < 16; ++i) {
        const int64_t column = view.blocks[block] * int64_t{16} + i;
        visit(column, value_at<kCode>(view, row, column, block * 16 + i));
      }
  } else {
    int64_t next = kKind == Kind::kBitmap ? view.offsets[row] : row * view.row_values;
    for (int64_t column = 0; column < view.columns; ++column)
      if (view.bits[row * view.bit_stride + column / 8] >> (column % 8) & 1) {
        visit(column, value_at<kCode>(view, row, column, next));
        ++next;
      }
  }
}

template <Kind kKind, Code kCode>
void multiply_rows(const View& view, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride,
                   int64_t begin, int64_t end) {
  for (int64_t v = 0; v < vectors; ++v)
    for (int64_t row = begin; row < end; ++row) {
      double sum = 0.0;
      const float* of = x + v * x_stride;
      for_each_value<kKind, kCode>(view, row, [&](int64_t column, float value) { sum += double{value} * double{of[column]}; });
      y[v * y_stride + row] = static_cast<float>(sum);
    }
}

template <Kind kKind, Code kCode>
void expand_row(const View& view, int64_t row, float* target) {
  std::memset(target, 0, static_cast<size_t>((view.columns + 63) / 64 * 64) * sizeof(float));
  for_each_value<kKind, kCode>(view, row, [&](int64_t column, float value) { target[column] = value; });
}

// The reference has one way for both kinds of N:M.
#define ESP_CODES(function, kind)                                                                                    \
  {                                                                                                                  \
    function<kind, Code::kF32>, function<kind, Code::kBF16>, function<kind, Code::kF16>, function<kind, Code::kI8>,  \
        function<kind, Code::kI8Groups>                                                                              \
  }
#define ESP_KINDS(function)                                                                                          \
  {                                                                                                                  \
    ESP_CODES(function, Kind::kRuns), ESP_CODES(function, Kind::kRuns), ESP_CODES(function, Kind::kBitmap),          \
        ESP_CODES(function, Kind::kBlocks)                                                                           \
  }

}  // namespace

const Level kReference = {ESP_KINDS(multiply_rows), ESP_KINDS(expand_row)};

}  // namespace espalier::sparse
