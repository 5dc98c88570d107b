// make_matrix: two passes over the rows, the first counts what is stored, the second stores it.
#include <algorithm>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/engine/aligned_tensor.h"
#include "espalier/engine/weight_codes.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {
namespace {

class Converter {
 public:
  Converter(const Tensor& weight, const WeightForm& form, const std::string& name)
      : codes_(weight, form.precision, form.group, name), name_(name) {
    matrix_.rows = weight.dim(0);
    matrix_.columns = weight.dim(1);
    matrix_.form = form;
    value_size_ = size_of(dtype_of(form.precision));
    if (form.precision == Precision::kI8) scales_ = make(matrix_.scales, DType::kF32, {matrix_.rows, scales_in_row(form, matrix_.columns)});
  }

  WeightMatrix dense() {
    make_values({matrix_.rows, matrix_.columns});
    for (int64_t row = 0; row < matrix_.rows; ++row) append(read(row).data(), matrix_.columns);
    return std::move(matrix_);
  }

  WeightMatrix bitmap() {
    make_offsets([](std::span<const float> row) { return std::ssize(row) - std::ranges::count(row, 0.0f); });
    make_values({offset_of(matrix_.rows) + kValueSlack});
    make_index();
    for (int64_t row = 0; row < matrix_.rows; ++row) {
      keep_non_zeros(row, read(row));
    }
    return std::move(matrix_);
  }

  WeightMatrix n_of_m() {
    const auto [n, m] = std::pair(matrix_.form.n, matrix_.form.m);
    if (n < 1 || m <= n) throw UserError(name_, "pattern", "n:m with 0 < n < m", fmt::format("{}:{}", n, m));
    if (matrix_.columns % m != 0)
      throw UserError(name_, "columns", fmt::format("a multiple of {} for {}:{}", m, n, m), std::to_string(matrix_.columns));
    make_values({matrix_.rows * (matrix_.columns / m * n) + kValueSlack});
    make_index();
    for (int64_t row = 0; row < matrix_.rows; ++row) {
      const auto codes = read(row);
      for (int64_t run = 0; run < matrix_.columns; run += m) keep_run(row, run, codes);
      flush();
    }
    return std::move(matrix_);
  }

  WeightMatrix blocks() {
    if (matrix_.columns > int64_t{kBlockColumns} * 65536)
      throw UserError(name_, "columns", "at most 1048576 for blocks", std::to_string(matrix_.columns));
    make_offsets([](std::span<const float> row) {
      int64_t count = 0;
      for (size_t c = 0; c < row.size(); c += kBlockColumns) count += !empty(row.subspan(c, kBlockColumns));
      return count;
    });
    const int64_t blocks = offset_of(matrix_.rows);
    make_values({blocks, kBlockColumns});
    auto* index = reinterpret_cast<uint16_t*>(make(matrix_.index, DType::kU16, {blocks}));
    for (int64_t row = 0; row < matrix_.rows; ++row) {
      const auto codes = read(row);
      for (size_t c = 0; c < codes.size(); c += kBlockColumns) {
        if (empty(codes.subspan(c, kBlockColumns))) continue;
        *index++ = static_cast<uint16_t>(c / kBlockColumns);
        append(&codes[c], kBlockColumns);
      }
    }
    return std::move(matrix_);
  }

 private:
  static bool empty(std::span<const float> block) {
    return std::ranges::all_of(block, [](float value) { return value == 0.0f; });
  }

  static std::byte* make(Tensor& part, DType dtype, Shape shape) {
    AlignedTensor made = aligned_tensor(dtype, std::move(shape));
    part = made.tensor;
    return made.bytes;
  }

  void make_values(Shape shape) { values_ = make(matrix_.values, dtype_of(matrix_.form.precision), std::move(shape)); }
  void make_index() {
    bits_ = reinterpret_cast<uint8_t*>(make(matrix_.index, DType::kU8, {matrix_.rows, bitmap_stride(matrix_.columns)}));
  }
  int64_t offset_of(int64_t row) const { return matrix_.offsets.as<int64_t>()[static_cast<size_t>(row)]; }
  template <typename Count>
  void make_offsets(Count count) {
    auto* offsets = reinterpret_cast<int64_t*>(make(matrix_.offsets, DType::kI64, {matrix_.rows + 1}));
    for (int64_t row = 0; row < matrix_.rows; ++row) offsets[row + 1] = offsets[row] + count(codes_.read(row));
  }

  std::span<const float> read(int64_t row) {
    const auto codes = codes_.read(row);
    const auto scales = codes_.scales();
    if (!scales.empty()) std::memcpy(scales_ + static_cast<size_t>(row) * scales.size_bytes(), scales.data(), scales.size_bytes());
    return codes;
  }
  void append(const float* codes, int64_t count) {
    codes_.write(codes, count, values_);
    values_ += static_cast<size_t>(count) * value_size_;
  }
  void keep(int64_t row, int64_t column, std::span<const float> codes) {
    bits_[row * bitmap_stride(matrix_.columns) + column / 8] |= static_cast<uint8_t>(1u << (column % 8));
    kept_.push_back(codes[static_cast<size_t>(column)]);
  }
  // Without branches, for which columns are kept is not to be foretold.
  void keep_non_zeros(int64_t row, std::span<const float> codes) {
    kept_.resize(codes.size());
    size_t count = 0;
    uint8_t* bits = bits_ + row * bitmap_stride(matrix_.columns);
    for (size_t c = 0; c < codes.size(); c += 8) {
      unsigned byte = 0;
      for (size_t i = 0; i < 8; ++i) {
        const bool kept = codes[c + i] != 0.0f;
        kept_[count] = codes[c + i];
        count += kept;
        byte |= static_cast<unsigned>(kept) << i;
      }
      bits[c / 8] = static_cast<uint8_t>(byte);
    }
    kept_.resize(count);
    flush();
  }
  void flush() {
    append(kept_.data(), std::ssize(kept_));
    kept_.clear();
  }
  // The non-zeros of the run and, where they are fewer than n, its first zeros.
  void keep_run(int64_t row, int64_t run, std::span<const float> codes) {
    const int64_t n = matrix_.form.n, m = matrix_.form.m;
    const auto values = codes.subspan(static_cast<size_t>(run), static_cast<size_t>(m));
    int64_t spare = n - (m - std::ranges::count(values, 0.0f));
    if (spare < 0)
      throw UserError(name_, fmt::format("row {}, columns {} to {}", row, run, run + m - 1),
                      fmt::format("at most {} non-zeros", n), std::to_string(n - spare));
    for (int64_t i = 0; i < m; ++i)
      if (values[static_cast<size_t>(i)] != 0.0f || spare-- > 0) keep(row, run + i, codes);
  }

  WeightCodes codes_;
  std::string name_;
  WeightMatrix matrix_;
  size_t value_size_ = 0;
  std::byte *values_ = nullptr, *scales_ = nullptr;
  uint8_t* bits_ = nullptr;
  std::vector<float> kept_;  // of the row at work
};

}  // namespace

WeightMatrix make_matrix(const Tensor& weight, const WeightForm& form, const std::string& name) {
  Converter converter(weight, form, name);
  switch (form.layout) {
    case Layout::kDense: return converter.dense();
    case Layout::kNOfM: return converter.n_of_m();
    case Layout::kBitmap: return converter.bitmap();
    case Layout::kBlock16: return converter.blocks();
  }
  ESP_ASSERT(false, "layout {}", static_cast<int>(form.layout));
  return {};
}

}  // namespace espalier
