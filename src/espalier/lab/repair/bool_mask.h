// A weight mask as a tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include "espalier/structure/mask.h"

namespace espalier {

// bool, in the mask's shape (that of the stored weight); true: kept.
at::Tensor bool_mask(const WeightMask& mask);

// An undefined mask keeps all.
at::Tensor masked(const at::Tensor& values, const at::Tensor& keep);

}  // namespace espalier
