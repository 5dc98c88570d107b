// suggest_form: counts of a weight's zeros against what each form reads for them.
#include <algorithm>
#include <bit>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/engine/weight_codes.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {
namespace {

constexpr int64_t kSampledRows = 16;

struct ZeroCounts {
  int64_t elements = 0, zeros = 0;
  int64_t most_of_4 = 0, most_of_8 = 0;   // non-zeros in a run
  int64_t blocks = 0, empty_blocks = 0;
  double density() const { return elements == 0 ? 1.0 : 1.0 - static_cast<double>(zeros) / static_cast<double>(elements); }
  double block_density() const {
    return blocks == 0 ? 1.0 : 1.0 - static_cast<double>(empty_blocks) / static_cast<double>(blocks);
  }
};

// One bit for each of at most 16 values that is not zero.
uint32_t non_zeros(std::span<const float> block) {
  uint32_t bits = 0;
  for (size_t i = 0; i < block.size(); ++i) bits |= static_cast<uint32_t>(block[i] != 0.0f) << i;
  return bits;
}

void count_row(std::span<const float> row, ZeroCounts& counts) {
  const size_t columns = row.size();
  for (size_t c = 0; c < columns; c += kBlockColumns) {
    const auto block = row.subspan(c, std::min<size_t>(kBlockColumns, columns - c));
    const uint32_t bits = non_zeros(block);
    const int64_t kept = std::popcount(bits);
    counts.elements += std::ssize(block);
    counts.zeros += std::ssize(block) - kept;
    counts.blocks += 1;
    counts.empty_blocks += kept == 0;
    for (int i = 0; i < 16; i += 4) counts.most_of_4 = std::max<int64_t>(counts.most_of_4, std::popcount(bits >> i & 0xf));
    for (int i = 0; i < 16; i += 8) counts.most_of_8 = std::max<int64_t>(counts.most_of_8, std::popcount(bits >> i & 0xff));
  }
}

ZeroCounts count(const Tensor& weight, int64_t rows_apart) {
  ZeroCounts counts;
  const auto columns = static_cast<size_t>(weight.dim(1));
  const size_t row_bytes = columns * size_of(weight.dtype());
  std::vector<float> row(columns);
  for (int64_t r = 0; r < weight.dim(0); r += rows_apart) {
    convert_to_float(weight.dtype(), weight.bytes() + static_cast<size_t>(r) * row_bytes, row.data(), columns);
    count_row(row, counts);
  }
  return counts;
}

// Time a column, in bytes read, as measured on the kernels: expanding costs on top of reading.
struct Candidate {
  WeightForm form;
  double cost;
};

std::vector<Candidate> candidates(const ZeroCounts& counts, const WeightForm& dense, int64_t columns) {
  const auto bytes = static_cast<double>(size_of(dtype_of(dense.precision)));
  const auto with = [&](Layout layout, int64_t n = 0, int64_t m = 0) {
    WeightForm form = dense;
    form.layout = layout;
    form.n = n;
    form.m = m;
    return form;
  };
  constexpr double kBit = 0.125, kExpanding = 1.1, kUnsteady = 1.1;
  std::vector<Candidate> all = {{dense, bytes}};
  if (columns <= kBlockColumns * int64_t{65536})
    all.push_back({with(Layout::kBlock16), (bytes + 2.0 / kBlockColumns) * counts.block_density() * kExpanding});
  // Bits of int8 gain with AVX-512 and VNNI alone, and in a batch not even then; a packed file may go to any machine.
  if (dense.precision == Precision::kI8) return all;
  if (columns % 4 == 0 && counts.most_of_4 <= 2) all.push_back({with(Layout::kNOfM, 2, 4), (bytes / 2 + kBit) * kExpanding});
  if (columns % 8 == 0 && counts.most_of_8 <= 4) all.push_back({with(Layout::kNOfM, 4, 8), (bytes / 2 + kBit) * kExpanding});
  all.push_back({with(Layout::kBitmap), (bytes * counts.density() + kBit) * kExpanding * kUnsteady});
  return all;
}

}  // namespace

WeightForm suggest_form(const Tensor& weight, Precision precision, int64_t group) {
  ESP_ASSERT(weight.shape().size() == 2, "a matrix of shape {}", to_string(weight.shape()));
  const WeightForm dense{precision, Layout::kDense, precision == Precision::kI8 ? group : 0};
  constexpr double kDenseEnough = 0.75;
  const int64_t apart = std::max<int64_t>(1, weight.dim(0) / kSampledRows);
  if (count(weight, apart).density() > kDenseEnough) return dense;
  const auto all = candidates(count(weight, 1), dense, weight.dim(1));
  return std::ranges::min_element(all, {}, &Candidate::cost)->form;
}

}  // namespace espalier
