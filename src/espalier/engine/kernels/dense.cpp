#include "espalier/engine/kernels.h"
#include "espalier/engine/kernels/dense_kernels.h"
#include "espalier/engine/kernels/thread_scratch.h"

namespace espalier {
namespace {

template <void (*kKernel)(const DenseProduct&), bool kScratch = false>
void run(const WeightMatrix& matrix, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride, int64_t begin, int64_t end) {
  const auto* scales = reinterpret_cast<const float*>(matrix.scales.bytes());
  const auto floats = static_cast<size_t>(vectors * ((matrix.columns + 63) / 64 * 64));
  void* scratch = kScratch ? thread_scratch(floats * sizeof(float)) : nullptr;
  kKernel({matrix.values.bytes(), scales, matrix.columns, matrix.form.group, x, x_stride, vectors, y, y_stride, begin, end, scratch});
}

struct Level {
  MatVec fp32, bf16, fp16, int8_rows, int8_groups;
};

#define ESPALIER_DENSE_LEVEL(level) \
  {run<dense_##level::fp32>, run<dense_##level::bf16, true>, run<dense_##level::fp16>, run<dense_##level::int8_rows>, run<dense_##level::int8_groups>}
constexpr Level kReference = ESPALIER_DENSE_LEVEL(reference);
constexpr Level kAvx2 = ESPALIER_DENSE_LEVEL(avx2);
constexpr Level kAvx512 = ESPALIER_DENSE_LEVEL(avx512);
#undef ESPALIER_DENSE_LEVEL

const Level& kernels_of(SimdLevel level) {
  switch (level) {
    case SimdLevel::kReference: return kReference;
    case SimdLevel::kAvx2: return kAvx2;
    case SimdLevel::kAvx512:
    case SimdLevel::kAvx512Bf16: return kAvx512;
  }
  return kReference;
}

}  // namespace

MatVec dense_mat_vec(Precision precision, int64_t group, SimdLevel level) {
  const Level& kernels = kernels_of(level);
  switch (precision) {
    case Precision::kF32: return kernels.fp32;
    case Precision::kBF16: return kernels.bf16;
    case Precision::kF16: return kernels.fp16;
    case Precision::kI8: return group == 0 ? kernels.int8_rows : kernels.int8_groups;
  }
  return nullptr;
}

}  // namespace espalier
