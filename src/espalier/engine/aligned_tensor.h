// Memory for weights that kernels stream through.
#pragma once

#include "espalier/core/tensor.h"

namespace espalier {

struct AlignedTensor {
  Tensor tensor;               // a view that keeps the memory alive
  std::byte* bytes = nullptr;  // the same memory, to fill it
};

// Zeroed and aligned to 64 bytes, in large pages where the system gives them, small tensors several to a page: with pages of 4 KB a
// core reads a fifth less.
AlignedTensor aligned_tensor(DType dtype, Shape shape);

}  // namespace espalier
