#include "espalier/lab/repair/obs_factor.h"

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr int kRetries = 3;

// Lower Cholesky factor of the damped H, or of J H J, with more damping when it is needed.
at::Tensor factor(const at::Tensor& hessian, double damp, const std::string& name, bool reversed) {
  double used = damp;
  for (int attempt = 0; attempt <= kRetries; ++attempt, used *= 10) {
    const auto damped = damped_hessian(hessian, used, name);
    const auto [lower, info] = at::linalg_cholesky_ex(reversed ? damped.flip({0, 1}) : damped);
    if (info.item<int64_t>() == 0) return lower;
  }
  user_error("{}: the Hessian is not positive definite, even with damp {:g}", name, used / 10);
}

}  // namespace

at::Tensor damped_hessian(const at::Tensor& hessian, double damp, const std::string& name) {
  ESP_ASSERT(hessian.dim() == 2 && hessian.size(0) == hessian.size(1) && hessian.size(0) > 0);
  if (!(damp >= 0)) throw UserError(name, "damp", "a number of at least 0", fmt::format("{}", damp));
  const auto type = hessian.size(0) <= kWideHessian ? at::kDouble : at::kFloat;
  auto damped = hessian.detach().to(type, /*non_blocking=*/false, /*copy=*/true);
  if (!at::isfinite(damped.sum()).item<bool>()) user_error("{}: the Hessian of the activations is not finite", name);
  auto diagonal = damped.diagonal();
  diagonal.add_(damp * diagonal.mean().item<double>());
  return damped;
}

at::Tensor damped_inverse(const at::Tensor& hessian, double damp, const std::string& name) {
  return at::cholesky_inverse(factor(hessian, damp, name, /*reversed=*/false));
}

at::Tensor upper_factor(const at::Tensor& hessian, double damp, const std::string& name) {
  return factor(hessian, damp, name, /*reversed=*/true).flip({0, 1});
}

}  // namespace espalier
