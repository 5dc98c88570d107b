// Which sparse kernel multiplies a form at a level, and how a matrix looks to it.
#include <algorithm>
#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/engine/kernels.h"
#include "espalier/engine/kernels/sparse_rows.h"
#include "espalier/engine/kernels/sparse_view.h"
#include "espalier/engine/kernels/thread_scratch.h"

namespace espalier {
namespace {

using sparse::Code, sparse::Kind, sparse::View;

constexpr int kLevels = 4;
constexpr std::array<const sparse::Level*, kLevels> kTables = {&sparse::kReference, &sparse::kAvx2, &sparse::kAvx512,
                                                               &sparse::kAvx512Bf16};

Kind kind_of(const WeightForm& form) {
  switch (form.layout) {
    case Layout::kNOfM: return form.m <= 8 && 8 % form.m == 0 ? Kind::kRegular : Kind::kRuns;
    case Layout::kBitmap: return Kind::kBitmap;
    case Layout::kBlock16: return Kind::kBlocks;
    case Layout::kDense: break;
  }
  ESP_ASSERT(false, "no sparse kernel for {}", to_string(form));
  return Kind::kRuns;
}

Code code_of(const WeightForm& form) {
  switch (form.precision) {
    case Precision::kF32: return Code::kF32;
    case Precision::kBF16: return Code::kBF16;
    case Precision::kF16: return Code::kF16;
    case Precision::kI8: return form.group == 0 ? Code::kI8 : Code::kI8Groups;
  }
  ESP_ASSERT(false, "precision {}", static_cast<int>(form.precision));
  return Code::kF32;
}

View view_of(const WeightMatrix& matrix) {
  const WeightForm& form = matrix.form;
  const bool runs = form.layout == Layout::kNOfM, blocks = form.layout == Layout::kBlock16;
  View view{};
  view.rows = matrix.rows;
  view.columns = matrix.columns;
  view.values = matrix.values.bytes();
  if (blocks) view.blocks = matrix.index.as<uint16_t>().data();
  if (!blocks) view.bits = matrix.index.as<uint8_t>().data();
  if (!blocks) view.bit_stride = bitmap_stride(matrix.columns);
  if (!runs) view.offsets = matrix.offsets.as<int64_t>().data();
  if (runs) view.row_values = matrix.columns / form.m * form.n;
  if (runs && form.m <= 8) view.eight_values = 8 / form.m * form.n;
  if (form.precision == Precision::kI8) view.scales = matrix.scales.as<float>().data();
  if (form.precision == Precision::kI8) view.scale_stride = matrix.scales.dim(1);
  if (form.group > 0) view.group_shift = std::countr_zero(static_cast<uint64_t>(form.group));
  return view;
}

// A MatVec has no place for what it was chosen by, so there is one for each level, kind and code.
template <int kLevel, int kKind, int kCode>
void multiply(const WeightMatrix& matrix, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride,
              int64_t begin, int64_t end) {
  View view = view_of(matrix);
  view.scratch = thread_scratch(static_cast<size_t>(vectors * bitmap_stride(matrix.columns) * sparse::kScratch));
  kTables[kLevel]->multiply[kKind][kCode](view, x, x_stride, vectors, y, y_stride, begin, end);
}

template <int... kIndex>
constexpr auto all_multiplies(std::integer_sequence<int, kIndex...>) {
  constexpr int kCodes = sparse::kCodes, kOfLevel = sparse::kKinds * kCodes;
  return std::array<MatVec, sizeof...(kIndex)>{multiply<kIndex / kOfLevel, kIndex % kOfLevel / kCodes, kIndex % kCodes>...};
}

constexpr auto kMultiplies = all_multiplies(std::make_integer_sequence<int, kLevels * sparse::kKinds * sparse::kCodes>());

}  // namespace

MatVec sparse_mat_vec(const WeightForm& form, SimdLevel level) {
  const int kind = static_cast<int>(kind_of(form)), code = static_cast<int>(code_of(form));
  return kMultiplies.at(static_cast<size_t>((static_cast<int>(level) * sparse::kKinds + kind) * sparse::kCodes + code));
}

void expand_sparse_rows(const WeightMatrix& matrix, int64_t begin, int64_t end, float* target, int64_t stride, SimdLevel level) {
  const View view = view_of(matrix);
  const auto kind = static_cast<size_t>(kind_of(matrix.form)), code = static_cast<size_t>(code_of(matrix.form));
  const sparse::ExpandRow expand = kTables.at(static_cast<size_t>(level))->expand[kind][code];
  const auto columns = static_cast<size_t>(matrix.columns);
  if (columns % 64 == 0) {
    for (int64_t row = begin; row < end; ++row) expand(view, row, target + (row - begin) * stride);
    return;
  }
  std::vector<float> whole((columns + 63) / 64 * 64);  // the kernels write up to whole words of the bitmap
  for (int64_t row = begin; row < end; ++row) {
    expand(view, row, whole.data());
    std::copy_n(whole.data(), columns, target + (row - begin) * stride);
  }
}

// The kernels write whole words and blocks; what goes beyond a row is overwritten by the next.
void expand_sparse_codes(const WeightMatrix& matrix, int64_t begin, int64_t end, void* target) {
  const View view = view_of(matrix);
  const auto kind = static_cast<size_t>(kind_of(matrix.form));
  const bool bf16 = matrix.form.precision == Precision::kBF16;
  ESP_ASSERT(bf16 || matrix.form.precision == Precision::kI8, "codes of {}", to_string(matrix.form));
  const sparse::ExpandCodes expand = bf16 ? sparse::kExpandBF16Codes[kind] : sparse::kExpandI8Codes[kind];
  auto* to = static_cast<std::byte*>(target);
  for (int64_t row = begin; row < end; ++row, to += static_cast<size_t>(matrix.columns) * (bf16 ? 2 : 1)) expand(view, row, to);
}

}  // namespace espalier
