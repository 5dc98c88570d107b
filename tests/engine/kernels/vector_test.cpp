// The vector kernels of every level of this machine against libm in double.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "espalier/engine/kernels.h"
#include "tests/engine/kernels/matrices.h"

namespace espalier {
namespace {

using testing_matrices::numbers;

constexpr float kMark = -54321;

class Vectors : public testing::TestWithParam<SimdLevel> {
 protected:
  const VectorKernels& kernels = vector_kernels(GetParam());
};

void expect_near(double found, double expected, double relative, double absolute, const std::string& what) {
  EXPECT_LE(std::abs(found - expected), relative * std::abs(expected) + absolute) << what << ": " << found << " for " << expected;
}

using Activation = void (*)(const float*, int64_t, float*);

// A fine grid and what lies between the grid's points, the whole range in which results are normal numbers.
void check_activation(Activation function, const std::function<double(double)>& exact) {
  std::vector<float> x;
  for (int i = -8000; i <= 8000; ++i) x.push_back(static_cast<float>(i) * 0.00123f);
  for (float v : numbers(4001, 3)) x.push_back(v * 4);
  std::vector<float> y(x.size());
  function(x.data(), static_cast<int64_t>(x.size()), y.data());
  for (size_t i = 0; i < x.size(); ++i) expect_near(y[i], exact(x[i]), 2e-6, 1e-12, std::to_string(x[i]));
}

double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double gelu_tanh(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
double silu(double x) { return x / (1 + std::exp(-x)); }

TEST_P(Vectors, Activations) {
  check_activation(kernels.silu, silu);
  check_activation(kernels.gelu, gelu);
  // 1 + tanh in double loses what lies below 1e-16.
  check_activation(kernels.gelu_tanh, gelu_tanh);
  check_activation(kernels.relu, [](double x) { return x > 0 ? x : 0; });
}

TEST_P(Vectors, ActivationsEndWhereTheyShould) {
  const float most = std::numeric_limits<float>::max(), infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {-most, -1000, -120, -0.0f, 0.0f, 120, 1000, most, infinity, std::nanf("")};
  for (Activation function : {kernels.silu, kernels.gelu, kernels.gelu_tanh, kernels.relu}) {
    std::vector<float> y(x.size());
    function(x.data(), static_cast<int64_t>(x.size()), y.data());
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(y[i], 0) << x[i];
    for (size_t i = 5; i < 9; ++i) EXPECT_EQ(y[i], x[i]) << x[i];
    EXPECT_TRUE(std::isnan(y[9]));
  }
}

TEST_P(Vectors, ActivationsWorkInPlaceAndWriteNothingElse) {
  for (Activation function : {kernels.silu, kernels.gelu, kernels.gelu_tanh, kernels.relu})
    for (int64_t n = 1; n <= 67; ++n) {
      std::vector<float> x = numbers(n, 5), y(static_cast<size_t>(n) + 3, kMark);
      function(x.data(), n, y.data());
      std::vector<float> place = x;
      place.resize(static_cast<size_t>(n) + 3, kMark);
      function(place.data(), n, place.data());
      EXPECT_EQ(place, y);
      for (size_t i = static_cast<size_t>(n); i < y.size(); ++i) EXPECT_EQ(y[i], kMark);
    }
}

TEST_P(Vectors, PairsOfEveryLength) {
  for (int64_t n = 1; n <= 130; ++n) {
    const std::vector<float> a = numbers(n, 1), b = numbers(n, 2);
    std::vector<float> sum(static_cast<size_t>(n) + 1, kMark), product = sum, gated = sum;
    kernels.add(a.data(), b.data(), n, sum.data());
    kernels.multiply(a.data(), b.data(), n, product.data());
    kernels.silu_multiply(a.data(), b.data(), n, gated.data());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(sum[i], a[i] + b[i]);
      EXPECT_EQ(product[i], a[i] * b[i]);
      expect_near(gated[i], silu(a[i]) * b[i], 2e-6, 0, "gated");
    }
    EXPECT_EQ(sum.back(), kMark);
    EXPECT_EQ(product.back(), kMark);
    EXPECT_EQ(gated.back(), kMark);
  }
}

TEST_P(Vectors, Norms) {
  for (int64_t n : {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 768, 2049}) {
    std::vector<float> x = numbers(n, 8);
    for (float& v : x) v = v * 3 + 1;
    const std::vector<float> weight = numbers(n, 9), bias = numbers(n, 10);
    double sum = 0, squares = 0, spread = 0;
    for (float v : x) sum += v, squares += static_cast<double>(v) * v;
    const double count = static_cast<double>(n), mean = sum / count, epsilon = 1e-5f;
    for (float v : x) spread += (v - mean) * (v - mean);
    for (bool weighted : {false, true}) {
      std::vector<float> rms(static_cast<size_t>(n) + 1, kMark), layer = rms;
      kernels.rms_norm(x.data(), weighted ? weight.data() : nullptr, n, 1e-5f, rms.data());
      kernels.layer_norm(x.data(), weighted ? weight.data() : nullptr, weighted ? bias.data() : nullptr, n, 1e-5f, layer.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const double w = weighted ? weight[i] : 1, b = weighted ? bias[i] : 0;
        expect_near(rms[i], x[i] / std::sqrt(squares / count + epsilon) * w, 2e-6, 1e-9, "rms");
        expect_near(layer[i], (x[i] - mean) / std::sqrt(spread / count + epsilon) * w + b, 4e-6, 4e-6, "layer");
      }
      EXPECT_EQ(rms.back(), kMark);
      EXPECT_EQ(layer.back(), kMark);
    }
  }
}

TEST_P(Vectors, LayerNormOfAConstantIsItsBias) {
  const std::vector<float> x(40, 3.5f), bias = numbers(40, 2);
  std::vector<float> y(40);
  kernels.layer_norm(x.data(), nullptr, bias.data(), 40, 1e-5f, y.data());
  EXPECT_EQ(y, bias);
}

TEST_P(Vectors, Rotation) {
  for (int64_t pairs : {1, 3, 8, 16, 20, 32, 64}) {
    const std::vector<float> before = numbers(2 * pairs, 4);
    std::vector<float> x = before, cosine(static_cast<size_t>(pairs)), sine = cosine;
    for (size_t i = 0; i < cosine.size(); ++i) cosine[i] = std::cos(static_cast<float>(i)), sine[i] = std::sin(static_cast<float>(i));
    x.push_back(kMark);
    kernels.rotate(x.data(), cosine.data(), sine.data(), pairs);
    for (size_t i = 0; i < cosine.size(); ++i) {
      const double a = before[i], b = before[i + cosine.size()], c = cosine[i], s = sine[i];
      expect_near(x[i], a * c - b * s, 0, 1e-6, "first");
      expect_near(x[i + cosine.size()], b * c + a * s, 0, 1e-6, "second");
    }
    EXPECT_EQ(x.back(), kMark);
  }
}

TEST_P(Vectors, SoftmaxAndMaximum) {
  for (int64_t n : {1, 2, 7, 15, 16, 17, 100, 1000}) {
    std::vector<float> x = numbers(n, 6);
    for (float& v : x) v = v * 20 - 500;
    if (n > 2) x[1] = -std::numeric_limits<float>::infinity();
    double most = -INFINITY, sum = 0;
    for (float v : x) most = std::max<double>(most, v);
    for (float v : x) sum += std::exp(v - most);
    std::vector<float> y = x;
    y.push_back(kMark);
    EXPECT_EQ(kernels.maximum(x.data(), n), static_cast<float>(most));
    kernels.softmax(y.data(), n);
    for (size_t i = 0; i < x.size(); ++i) expect_near(y[i], std::exp(x[i] - most) / sum, 2e-6, 1e-37, "softmax");
    EXPECT_TRUE(n <= 2 || y[1] == 0);
    EXPECT_EQ(y.back(), kMark);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Vectors, testing::ValuesIn(machine_simd_levels()),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

}  // namespace
}  // namespace espalier
