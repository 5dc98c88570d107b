#include "espalier/engine/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/engine/kernels/gemm_kernels.h"
#include "espalier/engine/kernels/sparse_rows.h"

namespace espalier {
namespace {

// Of expanded rows: half of a core's second cache.
constexpr int64_t kExpandedFloats = int64_t{1} << 17;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <typename T>
class Scratch {
 public:
  // What it held is lost when it grows.
  void reserve(int64_t count) {
    if (count <= count_) return;
    memory_.reset(static_cast<T*>(std::aligned_alloc(64, static_cast<size_t>(round_up(count * static_cast<int64_t>(sizeof(T)), 64)))));
    if (memory_ == nullptr) throw std::bad_alloc();
    count_ = count;
  }
  T* data(int64_t need) const {
    ESP_ASSERT(need <= count_, "{} elements needed, {} reserved", need, count_);
    return memory_.get();
  }
  uint64_t byte_size() const { return static_cast<uint64_t>(count_) * sizeof(T); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T[], Free> memory_;
  int64_t count_ = 0;
};

struct RankScratch {
  Scratch<uint32_t> packed;
  Scratch<float> scales, sums, expanded;
  Scratch<int32_t> offsets;
  Scratch<std::byte> codes;
};

// How a matrix is multiplied, and what that needs.
struct Way {
  const GemmKernels* kernels;
  bool in_place, codes;  // neither: rows are widened to fp32; codes: expanded as they are stored
  int64_t block_rows, group;
};

const GemmKernels& fp32_kernels(SimdLevel level) {
  if (level == SimdLevel::kReference) return kGemmFp32Reference;
  return level == SimdLevel::kAvx2 ? kGemmFp32Avx2 : kGemmFp32Avx512;
}

Way way_of(const WeightMatrix& matrix, SimdLevel level) {
  const bool best = level == SimdLevel::kAvx512Bf16, dense = matrix.form.layout == Layout::kDense;
  const Precision precision = matrix.form.precision;
  const int64_t some = std::clamp<int64_t>(kExpandedFloats / std::max<int64_t>(1, matrix.columns) / 6 * 6, 6, kGemmRows);
  if (best && precision == Precision::kBF16) return {&kGemmBf16, dense, !dense, dense ? kGemmRows : some, 0};
  if (best && precision == Precision::kI8)
    return {&kGemmInt8, dense, !dense, dense ? kGemmRows : some, matrix.form.group == 0 ? kActivationGroup : matrix.form.group};
  const bool in_place = dense && precision == Precision::kF32;
  return {&fp32_kernels(level), in_place, false, in_place ? kGemmRows : some, 0};
}

struct Sizes {
  int64_t padded, packed, groups;
};

Sizes sizes_of(const Way& way, int64_t columns, int64_t vectors) {
  const int64_t padded = round_up(vectors, way.kernels->lanes);
  const int64_t words = (columns + way.kernels->columns_per_word - 1) / way.kernels->columns_per_word;
  return {padded, words * padded, way.group == 0 ? 0 : (columns + way.group - 1) / way.group * padded};
}

int64_t code_bytes(const WeightMatrix& matrix, int64_t rows) {
  return (rows * matrix.columns + kCodeSlack) * static_cast<int64_t>(size_of(matrix.values.dtype()));
}

void expand_dense(const WeightMatrix& matrix, int64_t begin, int64_t end, SimdLevel level, float* target) {
  const ExpandKernels& kernels = level == SimdLevel::kAvx2 ? kExpandAvx2 : kExpandAvx512;
  const auto* weights = matrix.values.bytes() + static_cast<size_t>(begin * matrix.columns) * size_of(matrix.values.dtype());
  ExpandRows rows{weights, nullptr, end - begin, matrix.columns, matrix.form.group, target, matrix.columns};
  switch (matrix.form.precision) {
    case Precision::kF32: return;
    case Precision::kBF16: return kernels.bf16(rows);
    case Precision::kF16: return kernels.fp16(rows);
    case Precision::kI8: rows.scales = matrix.scales.as<float>().data() + begin * matrix.scales.dim(1);
  }
  (matrix.form.group == 0 ? kernels.int8_rows : kernels.int8_groups)(rows);
}

}  // namespace

struct GemmWorkspace::State {
  SimdLevel level;
  std::vector<RankScratch> ranks;
};

GemmWorkspace::GemmWorkspace(SimdLevel level) : state_(new State{level, {}}) {}
GemmWorkspace::~GemmWorkspace() = default;

void GemmWorkspace::reserve(const WeightMatrix& matrix, int64_t vectors, int team) {
  if (state_->ranks.size() < static_cast<size_t>(team)) {
    std::vector<RankScratch> grown(static_cast<size_t>(team));
    std::move(state_->ranks.begin(), state_->ranks.end(), grown.begin());
    state_->ranks = std::move(grown);
  }
  const Way way = way_of(matrix, state_->level);
  const Sizes sizes = sizes_of(way, matrix.columns, vectors);
  for (RankScratch& rank : state_->ranks) {
    rank.packed.reserve(sizes.packed);
    rank.sums.reserve(kGemmRows * sizes.padded);
    rank.scales.reserve(sizes.groups);
    rank.offsets.reserve(sizes.groups);
    if (way.codes) rank.codes.reserve(code_bytes(matrix, way.block_rows));
    else if (!way.in_place) rank.expanded.reserve(way.block_rows * matrix.columns);
  }
}

uint64_t GemmWorkspace::byte_size() const {
  uint64_t bytes = 0;
  for (const RankScratch& r : state_->ranks)
    bytes += r.packed.byte_size() + r.scales.byte_size() + r.sums.byte_size() + r.expanded.byte_size() + r.offsets.byte_size() + r.codes.byte_size();
  return bytes;
}

namespace {

// Rows [begin, end) as the kernels want them.
const void* rows_for(const WeightMatrix& matrix, const Way& way, int64_t begin, int64_t end, SimdLevel level, const RankScratch& scratch) {
  const int64_t columns = matrix.columns, count = (end - begin) * columns;
  if (way.in_place) return matrix.values.bytes() + static_cast<size_t>(begin * columns) * size_of(matrix.values.dtype());
  if (way.codes) {
    std::byte* codes = scratch.codes.data(code_bytes(matrix, end - begin));
    expand_sparse_codes(matrix, begin, end, codes);
    return codes;
  }
  float* expanded = scratch.expanded.data(count);
  if (matrix.form.layout == Layout::kDense && level != SimdLevel::kReference) {
    expand_dense(matrix, begin, end, level, expanded);
  } else {
    expand_rows(matrix, begin, end, expanded, columns);
  }
  return expanded;
}

}  // namespace

void gemm(const WeightMatrix& matrix, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride, Slice rows,
          GemmWorkspace& workspace, int rank) {
  const GemmWorkspace::State& state = *workspace.state_;
  const RankScratch& scratch = state.ranks.at(static_cast<size_t>(rank));
  const Way way = way_of(matrix, state.level);
  const Sizes sizes = sizes_of(way, matrix.columns, vectors);
  GemmBlock block{};
  block.vectors = {x, x_stride, vectors, matrix.columns, way.group, scratch.packed.data(sizes.packed), scratch.scales.data(sizes.groups),
                   scratch.offsets.data(sizes.groups)};
  block.stride = block.columns = matrix.columns;
  block.grouped = matrix.form.group != 0;
  block.sums = scratch.sums.data(kGemmRows * sizes.padded);
  block.y_stride = y_stride;
  way.kernels->pack(block.vectors);
  for (int64_t begin = rows.begin; begin < rows.end; begin += way.block_rows) {
    const int64_t end = std::min(rows.end, begin + way.block_rows);
    block.weights = rows_for(matrix, way, begin, end, state.level, scratch);
    if (way.group != 0) block.weight_scales = matrix.scales.as<float>().data() + begin * matrix.scales.dim(1);
    block.rows = end - begin;
    block.y = y + begin;
    way.kernels->multiply(block);
  }
}

}  // namespace espalier
