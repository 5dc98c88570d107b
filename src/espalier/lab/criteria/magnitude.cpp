#include "espalier/lab/criteria/magnitude.h"

#include <cmath>

#include "espalier/core/rng.h"
#include "espalier/lab/torch.h"

namespace espalier {

at::Tensor magnitude_mask(const at::Tensor& weight, const Pattern& pattern, const std::string& name) {
  const auto matrix = as_matrix(weight);
  const float* data = matrix.data_ptr<float>();
  const int64_t cols = matrix.size(1);
  const auto fill = [=](int64_t row, std::span<float> out) {
    for (int64_t j = 0; j < cols; ++j) out[j] = std::fabs(data[row * cols + j]);
  };
  return keep_mask(RowScores{matrix.size(0), cols, fill}, pattern, name);
}

at::Tensor random_mask(const at::Tensor& weight, const Pattern& pattern, uint64_t seed, const std::string& name) {
  auto scores = at::empty({weight.size(0), weight.numel() / std::max<int64_t>(1, weight.size(0))}, at::kFloat);
  Rng rng(seed, "random-mask/" + name);
  float* data = scores.data_ptr<float>();
  for (int64_t i = 0; i < scores.numel(); ++i) data[i] = static_cast<float>(rng.uniform());
  return keep_mask(scores, pattern, name);
}

}  // namespace espalier
