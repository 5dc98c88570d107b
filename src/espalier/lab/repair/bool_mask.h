// A weight mask as a tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include "espalier/structure/mask.h"

namespace espalier {

// bool, in the mask's shape (that of the stored weight); true: kept.
at::Tensor bool_mask(const WeightMask& mask);

}  // namespace espalier
