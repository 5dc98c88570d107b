#include "espalier/io/mapped_tensor.h"

#include <cstring>

#include "espalier/core/error.h"

namespace espalier {

Tensor mapped_tensor(DType dtype, Shape shape, std::shared_ptr<const MappedFile> file, uint64_t offset) {
  const std::byte* bytes = file->data() + offset;
  const bool aligned = reinterpret_cast<uintptr_t>(bytes) % size_of(dtype) == 0;
  if (aligned) {
    const uint64_t file_size = file->size();
    Tensor view(dtype, std::move(shape), std::move(file), bytes);
    ESP_ASSERT(offset <= file_size && view.byte_size() <= file_size - offset);
    return view;
  }
  Tensor copy(dtype, std::move(shape));
  ESP_ASSERT(offset <= file->size() && copy.byte_size() <= file->size() - offset);
  if (copy.byte_size() > 0) std::memcpy(copy.mutable_bytes(), bytes, copy.byte_size());
  return copy;
}

}  // namespace espalier
