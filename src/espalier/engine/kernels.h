// The table of kernels, one for each SIMD level. Callers take the table once and call through it; nothing is looked up
// in a loop.
#pragma once

#include <cstdint>

#include "espalier/engine/simd.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {

struct VectorKernels {
  // y = x · weight / sqrt(mean(x²) + epsilon); weight may be null.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, float* y);
  // y = (x - mean) / sqrt(var + epsilon) · weight + bias; both may be null.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t n, float epsilon, float* y);
  void (*add)(const float* a, const float* b, int64_t n, float* y);
  void (*multiply)(const float* a, const float* b, int64_t n, float* y);
  // Activation kinds of graph/ops/activation_kinds.h that language models use; y may be x. Relative error ≤ 2e-6.
  void (*silu)(const float* x, int64_t n, float* y);
  void (*gelu)(const float* x, int64_t n, float* y);       // erf
  void (*gelu_tanh)(const float* x, int64_t n, float* y);
  void (*relu)(const float* x, int64_t n, float* y);
  void (*silu_multiply)(const float* gate, const float* up, int64_t n, float* y);
  // x[0, 2·pairs): (x[i], x[i + pairs]) rotated by cosine[i], sine[i].
  void (*rotate)(float* x, const float* cosine, const float* sine, int64_t pairs);
  void (*softmax)(float* x, int64_t n);
  float (*maximum)(const float* x, int64_t n);
};

const VectorKernels& vector_kernels(SimdLevel level = simd_level());

// The kernel for matrices of this form at this level (the best that exists at or below it). Never null.
MatVec dense_mat_vec(Precision precision, int64_t group, SimdLevel level = simd_level());
MatVec sparse_mat_vec(const WeightForm& form, SimdLevel level = simd_level());
inline MatVec mat_vec(const WeightForm& form, SimdLevel level = simd_level()) {
  return form.layout == Layout::kDense ? dense_mat_vec(form.precision, form.group, level) : sparse_mat_vec(form, level);
}

}  // namespace espalier
