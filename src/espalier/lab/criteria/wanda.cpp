#include "espalier/lab/criteria/wanda.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

at::Tensor checked_norms(const at::Tensor& norms, int64_t inputs, const std::string& name) {
  if (norms.numel() != inputs) {
    throw UserError(name, "column norms", fmt::format("{} inputs", inputs), fmt::format("{}", norms.numel()));
  }
  const auto held = norms.detach().reshape({-1}).to(at::kFloat).contiguous();
  if (!at::isfinite(held).all().item<bool>())
    user_error("{}: the column norms of the activations are not finite", name);
  return held;
}

}  // namespace

at::Tensor wanda_scores(const at::Tensor& weight, const at::Tensor& norms, const std::string& name) {
  const auto matrix = as_matrix(weight);
  return matrix.abs().mul_(checked_norms(norms, matrix.size(1), name));
}

at::Tensor wanda_mask(const at::Tensor& weight, const at::Tensor& norms, const Pattern& pattern,
                      const std::string& name) {
  const auto matrix = as_matrix(weight);
  const int64_t cols = matrix.size(1);
  const auto held = checked_norms(norms, cols, name);
  const float *data = matrix.data_ptr<float>(), *scale = held.data_ptr<float>();
  const auto fill = [=](int64_t row, std::span<float> out) {
    for (int64_t j = 0; j < cols; ++j) out[j] = std::fabs(data[row * cols + j]) * scale[j];
  };
  return keep_mask(RowScores{matrix.size(0), cols, fill}, pattern, name);
}

at::Tensor wanda_channel_scores(const at::Tensor& weight, const at::Tensor& norms, const std::string& name) {
  const auto matrix = as_matrix(weight);
  const auto held = checked_norms(norms, matrix.size(1), name);
  return matrix.to(at::kDouble).square_().sum(0).sqrt_().mul_(held).to(at::kFloat);
}

}  // namespace espalier
