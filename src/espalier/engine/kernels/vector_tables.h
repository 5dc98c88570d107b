// The vector kernels of each level.
#pragma once

#include "espalier/engine/kernels.h"

namespace espalier {

extern const VectorKernels kVectorReference, kVectorAvx2, kVectorAvx512;

}  // namespace espalier
