#include "espalier/lab/training/regrowth.h"

#include "espalier/lab/criteria/alive_ranking.h"
#include "espalier/lab/torch.h"

namespace espalier {

Swap swap_weights(const at::Tensor& weight, const at::Tensor& mask, const at::Tensor& growth, double rate, const std::string& where) {
  Swap swap{.count = share_of(rate, alive_count({mask}))};
  const at::Tensor before = mask.clone();
  remove_lowest({weight.detach().abs()}, {mask}, swap.count, where);
  swap.died = before.logical_and(mask.logical_not());
  swap.grown = grow_highest(growth, mask, swap.count, where);
  return swap;
}

}  // namespace espalier
