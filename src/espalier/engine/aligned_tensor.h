// Memory for weights that kernels stream through.
#pragma once

#include "espalier/core/tensor.h"

namespace espalier {

struct AlignedTensor {
  Tensor tensor;               // a view that keeps the memory alive
  std::byte* bytes = nullptr;  // the same memory, to fill it
};

// Zeroed and aligned to 64 bytes; large ones ask the system for large pages, which sparse kernels' reads want.
AlignedTensor aligned_tensor(DType dtype, Shape shape);

}  // namespace espalier
