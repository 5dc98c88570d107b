#include "espalier/core/dtype.h"
#include "espalier/engine/kernels/dense_kernels.h"

namespace espalier::dense_reference {
namespace {

// weight(row, column) gives the number that is multiplied with.
template <typename Weight>
void multiply(const DenseProduct& p, const Weight& weight) {
  for (int64_t v = 0; v < p.vectors; ++v) {
    const float* x = p.x + v * p.x_stride;
    for (int64_t r = p.begin; r < p.end; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < p.columns; ++c) sum += static_cast<double>(weight(r, c)) * static_cast<double>(x[c]);
      p.y[v * p.y_stride + r] = static_cast<float>(sum);
    }
  }
}

float scaled(const DenseProduct& p, int64_t r, int64_t c) {
  const int64_t groups = p.group == 0 ? 1 : (p.columns + p.group - 1) / p.group;
  const float scale = p.scales[r * groups + (p.group == 0 ? 0 : c / p.group)];
  return scale * static_cast<float>(static_cast<const int8_t*>(p.weights)[r * p.columns + c]);
}

}  // namespace

void fp32(const DenseProduct& p) {
  const auto* w = static_cast<const float*>(p.weights);
  multiply(p, [&](int64_t r, int64_t c) { return w[r * p.columns + c]; });
}

void bf16(const DenseProduct& p) {
  const auto* w = static_cast<const uint16_t*>(p.weights);
  multiply(p, [&](int64_t r, int64_t c) { return bf16_to_float(w[r * p.columns + c]); });
}

void fp16(const DenseProduct& p) {
  const auto* w = static_cast<const uint16_t*>(p.weights);
  multiply(p, [&](int64_t r, int64_t c) { return f16_to_float(w[r * p.columns + c]); });
}

void int8_rows(const DenseProduct& p) {
  multiply(p, [&](int64_t r, int64_t c) { return scaled(p, r, c); });
}

void int8_groups(const DenseProduct& p) { int8_rows(p); }

}  // namespace espalier::dense_reference
