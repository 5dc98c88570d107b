#include "espalier/engine/kernels/gemm_kernels.h"

namespace espalier {
namespace {

void multiply(const GemmBlock& b) {
  const auto* weights = static_cast<const float*>(b.weights);
  for (int64_t v = 0; v < b.vectors.vectors; ++v) {
    const float* x = b.vectors.x + v * b.vectors.x_stride;
    for (int64_t r = 0; r < b.rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < b.columns; ++c) sum += static_cast<double>(weights[r * b.stride + c]) * static_cast<double>(x[c]);
      b.y[v * b.y_stride + r] = static_cast<float>(sum);
    }
  }
}

}  // namespace

// Reads x as it is.
const GemmKernels kGemmFp32Reference = {1, 1, [](const GemmVectors&) {}, multiply};

}  // namespace espalier
