#include "espalier/lab/repair/bool_mask.h"

#include "espalier/lab/torch.h"

namespace espalier {

at::Tensor bool_mask(const WeightMask& mask) {
  at::Tensor keep = at::empty(mask.shape, at::kBool);
  auto* flags = keep.data_ptr<bool>();
  for (int64_t i = 0; i < mask.count(); ++i) flags[i] = mask.keeps(i);
  return keep;
}

at::Tensor masked(const at::Tensor& values, const at::Tensor& keep) { return keep.defined() ? values * keep : values; }

}  // namespace espalier
