#include "espalier/lab/criteria/principal_basis.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {

PrincipalBasis principal_basis(const at::Tensor& gram, const std::string& name) {
  ESP_ASSERT(gram.dim() == 2 && gram.size(0) == gram.size(1));
  if (!at::isfinite(gram).all().item<bool>()) user_error("{}: the Gram matrix of the activations is not finite", name);
  const auto [ascending, vectors] = at::linalg_eigh(gram.to(at::kDouble), "U");
  const auto columns = vectors.flip(1);
  const auto largest = columns.gather(0, columns.abs().argmax(0, /*keepdim=*/true));
  return {ascending.flip(0), columns * largest.sign()};
}

at::Tensor project(const PrincipalBasis& basis, const at::Tensor& x, int64_t keep) {
  ESP_ASSERT(keep >= 0 && keep <= basis.vectors.size(1), "keep {}", keep);
  const auto q = basis.vectors.narrow(1, 0, keep);
  return x.to(at::kDouble).matmul(q).matmul(q.t()).to(x.scalar_type());
}

double lost_energy(const PrincipalBasis& basis, int64_t keep) {
  return basis.eigenvalues.slice(0, keep).clamp_min(0).sum().item<double>();
}

int64_t sliced_width(int64_t width, double share, int64_t multiple) {
  ESP_ASSERT(width > 0 && multiple > 0 && share >= 0 && share <= 1);
  const auto wanted = static_cast<int64_t>(std::floor(share * static_cast<double>(width) + 1e-9));
  return std::min(width, std::max(multiple, wanted / multiple * multiple));
}

}  // namespace espalier
