#include <algorithm>
#include <cmath>

#include "espalier/engine/kernels/vector_tables.h"

namespace espalier {
namespace {

void rms_norm(const float* x, const float* weight, int64_t n, float epsilon, float* y) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i] * scale * (weight == nullptr ? 1.0 : weight[i]));
}

void layer_norm(const float* x, const float* weight, const float* bias, int64_t n, float epsilon, float* y) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i)
    y[i] = static_cast<float>((x[i] - mean) * scale * (weight == nullptr ? 1.0 : weight[i]) + (bias == nullptr ? 0.0 : bias[i]));
}

void add(const float* a, const float* b, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

void multiply(const float* a, const float* b, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

template <typename F>
void each(const float* x, int64_t n, float* y, const F& f) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(f(static_cast<double>(x[i])));
}

double silu_of(double x) { return x / (1 + std::exp(-x)); }

void silu(const float* x, int64_t n, float* y) { each(x, n, y, silu_of); }

void gelu(const float* x, int64_t n, float* y) {
  each(x, n, y, [](double v) { return 0.5 * v * std::erfc(-v * std::sqrt(0.5)); });
}

void gelu_tanh(const float* x, int64_t n, float* y) {
  // 0.5 (1 + tanh u) = 1 / (1 + exp(-2u))
  each(x, n, y, [](double v) { return v / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))); });
}

void relu(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = std::max(x[i], 0.0f);
}

void silu_multiply(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(silu_of(gate[i]) * up[i]);
}

void rotate(float* x, const float* cosine, const float* sine, int64_t pairs) {
  for (int64_t i = 0; i < pairs; ++i) {
    const float a = x[i], b = x[i + pairs];
    x[i] = a * cosine[i] - b * sine[i];
    x[i + pairs] = b * cosine[i] + a * sine[i];
  }
}

float maximum(const float* x, int64_t n) {
  float most = x[0];
  for (int64_t i = 1; i < n; ++i) most = std::max(most, x[i]);
  return most;
}

void softmax(float* x, int64_t n) {
  if (n == 0) return;
  const double most = maximum(x, n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - most);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(std::exp(x[i] - most) / sum);
}

}  // namespace

const VectorKernels kVectorReference = {rms_norm, layer_norm, add,           multiply, silu,    gelu,
                                        gelu_tanh, relu,      silu_multiply, rotate,   softmax, maximum};

}  // namespace espalier
