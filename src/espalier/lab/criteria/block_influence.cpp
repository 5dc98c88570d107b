#include "espalier/lab/criteria/block_influence.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {

void BlockInfluence::add(int64_t block, const at::Tensor& entering, const at::Tensor& leaving) {
  ESP_ASSERT(entering.sizes() == leaving.sizes());
  const auto a = entering.detach().reshape({-1, entering.size(-1)}).to(at::kDouble);
  const auto b = leaving.detach().reshape({-1, leaving.size(-1)}).to(at::kDouble);
  const auto lengths = a.norm(2, 1) * b.norm(2, 1);
  const auto cosines = (a * b).sum(1) / lengths.masked_fill(lengths == 0, 1.0);
  sums_.at(block) += cosines.sum().item<double>();
  tokens_.at(block) += a.size(0);
}

at::Tensor BlockInfluence::influence() const {
  std::vector<double> values(sums_.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (tokens_[i] == 0) user_error("block {}: the calibration set is empty", i);
    values[i] = 1.0 - sums_[i] / static_cast<double>(tokens_[i]);
    if (!std::isfinite(values[i])) user_error("block {}: the activations are not finite", i);
  }
  return at::tensor(values, at::kDouble);
}

}  // namespace espalier
