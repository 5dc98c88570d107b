// A tensor that lies in a mapped file.
#pragma once

#include <cstdint>
#include <memory>

#include "espalier/core/file.h"
#include "espalier/core/tensor.h"

namespace espalier {

// A view of the file's bytes from `offset` on, which keeps the map alive. Where they are not aligned for their type
// (old writers did not care), the result is an owned copy instead, for kernels read whole vectors of elements.
// The caller has checked that the bytes lie within the file.
Tensor mapped_tensor(DType dtype, Shape shape, std::shared_ptr<const MappedFile> file, uint64_t offset);

}  // namespace espalier
