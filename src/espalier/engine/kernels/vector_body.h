// The vector kernels over Lanes, for the level files, each of which includes its lanes_*.h first.
#pragma once

#include <cstdint>

namespace espalier {
namespace {

using Vec = Lanes::Vec;

// e^x = 2^n e^r with |r| ≤ ln 2 / 2, and e^r from its series up to r^7, the rest of which is below 6e-9. Beyond ±110 the
// result is 0 or infinity anyway.
inline Vec exp_of(Vec x) {
  x = Lanes::min(Lanes::set1(110.0f), Lanes::max(Lanes::set1(-110.0f), x));
  const Vec n = Lanes::round(Lanes::mul(x, Lanes::set1(1.44269504f)));
  // ln 2 in two parts, the first short enough for an exact product.
  Vec r = Lanes::fnma(n, Lanes::set1(0.693359375f), x);
  r = Lanes::fnma(n, Lanes::set1(-2.12194440e-4f), r);
  Vec sum = Lanes::set1(1.0f / 5040);
  for (float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) sum = Lanes::fma(sum, r, Lanes::set1(coefficient));
  return Lanes::scale(sum, n);
}

inline Vec silu_of(Vec x) {
  const Vec one = Lanes::set1(1.0f);
  return Lanes::div(x, Lanes::add(one, exp_of(Lanes::sub(Lanes::zero(), x))));
}

// 0.5 x erfc(-x / √2). erfc(z) = e^(-z²) t P(t) for z ≥ 0 with t = 1 / (1 + 0.45 z), where P was fitted for the least
// relative error (2e-9) on z ≤ 10; at 15 / √2, where x ends here, e^(-z²) is 0.
inline Vec gelu_of(Vec x) {
  const Vec one = Lanes::set1(1.0f), size = Lanes::min(Lanes::set1(15.0f), Lanes::absolute(x)), half = Lanes::mul(size, Lanes::set1(0.5f));
  const Vec t = Lanes::div(one, Lanes::fma(size, Lanes::set1(0.318198052f), one));
  Vec sum = Lanes::set1(0.0265363468f);
  for (float coefficient : {-0.187783325f, 0.541289864f, -0.778988295f, 0.552844206f, -0.252920987f, 0.205588934f, 0.154517944f, 0.23140461f, 0.253615502f, 0.253895199f}) sum = Lanes::fma(sum, t, Lanes::set1(coefficient));
  // A rounded x² / 2 would cost its error times itself.
  const Vec square = Lanes::mul(half, size), lost = Lanes::fma(half, size, Lanes::sub(Lanes::zero(), square));
  const Vec power = exp_of(Lanes::sub(Lanes::zero(), square));
  const Vec tail = Lanes::mul(Lanes::mul(sum, t), Lanes::fnma(power, lost, power));
  return Lanes::mul(Lanes::mul(x, Lanes::set1(0.5f)), Lanes::choose_by_sign(x, tail, Lanes::sub(Lanes::set1(2.0f), tail)));
}

// 0.5 (1 + tanh u) = 1 / (1 + e^(-2u)) with u = √(2/π) (x + 0.044715 x³).
inline Vec gelu_tanh_of(Vec x) {
  const Vec inner = Lanes::fma(Lanes::mul(x, x), Lanes::set1(-0.0713548163f), Lanes::set1(-1.59576912f));
  return Lanes::div(x, Lanes::add(Lanes::set1(1.0f), exp_of(Lanes::mul(x, inner))));
}

template <typename F>
inline void each(const float* x, int64_t n, float* y, const F& f) {
  int64_t i = 0;
  for (; i + Lanes::kWidth <= n; i += Lanes::kWidth) Lanes::store(y + i, f(Lanes::load(x + i)));
  if (i < n) Lanes::store(y + i, f(Lanes::load(x + i, n - i)), n - i);
}

template <typename F>
inline void each_pair(const float* a, const float* b, int64_t n, float* y, const F& f) {
  int64_t i = 0;
  for (; i + Lanes::kWidth <= n; i += Lanes::kWidth) Lanes::store(y + i, f(Lanes::load(a + i), Lanes::load(b + i)));
  if (i < n) Lanes::store(y + i, f(Lanes::load(a + i, n - i), Lanes::load(b + i, n - i)), n - i);
}

// Σ f(x[i]), two running sums.
template <typename F>
inline float sum_of(const float* x, int64_t n, const F& f) {
  Vec first = Lanes::zero(), second = Lanes::zero();
  int64_t i = 0;
  for (; i + 2 * Lanes::kWidth <= n; i += 2 * Lanes::kWidth) {
    first = f(Lanes::load(x + i), first);
    second = f(Lanes::load(x + i + Lanes::kWidth), second);
  }
  for (; i + Lanes::kWidth <= n; i += Lanes::kWidth) first = f(Lanes::load(x + i), first);
  if (i < n) second = Lanes::keep(f(Lanes::load(x + i, n - i), second), n - i, second);
  return Lanes::sum(Lanes::add(first, second));
}

inline float inverse_root(float mean, float epsilon) { return 1.0f / __builtin_sqrtf(mean + epsilon); }

void rms_norm(const float* x, const float* weight, int64_t n, float epsilon, float* y) {
  const float squares = sum_of(x, n, [](Vec v, Vec sum) { return Lanes::fma(v, v, sum); });
  const Vec scale = Lanes::set1(inverse_root(squares / static_cast<float>(n), epsilon));
  if (weight == nullptr) return each(x, n, y, [&](Vec v) { return Lanes::mul(v, scale); });
  each_pair(x, weight, n, y, [&](Vec v, Vec w) { return Lanes::mul(Lanes::mul(v, scale), w); });
}

void layer_norm(const float* x, const float* weight, const float* bias, int64_t n, float epsilon, float* y) {
  const float count = static_cast<float>(n);
  const Vec mean = Lanes::set1(sum_of(x, n, [](Vec v, Vec sum) { return Lanes::add(sum, v); }) / count);
  const float squares = sum_of(x, n, [&](Vec v, Vec sum) { return Lanes::fma(Lanes::sub(v, mean), Lanes::sub(v, mean), sum); });
  const Vec scale = Lanes::set1(inverse_root(squares / count, epsilon));
  each(x, n, y, [&](Vec v) { return Lanes::mul(Lanes::sub(v, mean), scale); });
  if (weight != nullptr) each_pair(y, weight, n, y, [](Vec v, Vec w) { return Lanes::mul(v, w); });
  if (bias != nullptr) each_pair(y, bias, n, y, [](Vec v, Vec b) { return Lanes::add(v, b); });
}

void add(const float* a, const float* b, int64_t n, float* y) { each_pair(a, b, n, y, Lanes::add); }
void multiply(const float* a, const float* b, int64_t n, float* y) { each_pair(a, b, n, y, Lanes::mul); }
void silu(const float* x, int64_t n, float* y) { each(x, n, y, silu_of); }
void gelu(const float* x, int64_t n, float* y) { each(x, n, y, gelu_of); }
void gelu_tanh(const float* x, int64_t n, float* y) { each(x, n, y, gelu_tanh_of); }
void relu(const float* x, int64_t n, float* y) {
  each(x, n, y, [](Vec v) { return Lanes::max(Lanes::zero(), v); });
}
void silu_multiply(const float* gate, const float* up, int64_t n, float* y) {
  each_pair(gate, up, n, y, [](Vec g, Vec u) { return Lanes::mul(silu_of(g), u); });
}

void rotate(float* x, const float* cosine, const float* sine, int64_t pairs) {
  float* other = x + pairs;
  for (int64_t i = 0; i < pairs; i += Lanes::kWidth) {
    const int64_t n = pairs - i < Lanes::kWidth ? pairs - i : Lanes::kWidth;
    const Vec a = Lanes::load(x + i, n), b = Lanes::load(other + i, n), c = Lanes::load(cosine + i, n), s = Lanes::load(sine + i, n);
    Lanes::store(x + i, Lanes::sub(Lanes::mul(a, c), Lanes::mul(b, s)), n);
    Lanes::store(other + i, Lanes::fma(b, c, Lanes::mul(a, s)), n);
  }
}

float maximum(const float* x, int64_t n) {
  Vec most = Lanes::set1(x[0]);
  int64_t i = 0;
  for (; i + Lanes::kWidth <= n; i += Lanes::kWidth) most = Lanes::max(most, Lanes::load(x + i));
  if (i < n) most = Lanes::keep(Lanes::max(most, Lanes::load(x + i, n - i)), n - i, most);
  return Lanes::most(most);
}

void softmax(float* x, int64_t n) {
  if (n == 0) return;
  const Vec most = Lanes::set1(maximum(x, n));
  each(x, n, x, [&](Vec v) { return exp_of(Lanes::sub(v, most)); });
  const Vec scale = Lanes::set1(1.0f / sum_of(x, n, [](Vec v, Vec sum) { return Lanes::add(sum, v); }));
  each(x, n, x, [&](Vec v) { return Lanes::mul(v, scale); });
}

constexpr VectorKernels kTable = {rms_norm, layer_norm, add, multiply, silu, gelu, gelu_tanh, relu, silu_multiply, rotate, softmax, maximum};

}  // namespace
}  // namespace espalier
