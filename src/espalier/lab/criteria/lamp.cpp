#include "espalier/lab/criteria/lamp.h"

#include "espalier/lab/torch.h"

namespace espalier {

at::Tensor lamp_scores(const at::Tensor& weight, const at::Tensor& mask) {
  const at::Tensor squares = weight.detach().to(at::kDouble).masked_select(mask).square();
  const auto [ascending, order] = at::sort(squares, /*stable=*/true, -1, /*descending=*/false);
  const at::Tensor from_here = ascending.flip(0).cumsum(0).flip(0);
  // All zeros: nothing to divide by, and nothing matters.
  const at::Tensor scores = at::where(from_here > 0, ascending / from_here, at::zeros_like(from_here));
  return at::zeros(weight.sizes(), at::kDouble).masked_scatter(mask, at::zeros_like(squares).scatter(0, order, scores));
}

}  // namespace espalier
