#include "espalier/io/torch_pickle.h"

#include <algorithm>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/io/mapped_tensor.h"

namespace espalier {
namespace {

struct Axis {
  size_t size, from_stride, to_stride;  // strides in bytes
};

void copy_axes(std::span<const Axis> axes, const std::byte* from, std::byte* to, size_t element) {
  if (axes.empty()) {
    std::memcpy(to, from, element);
    return;
  }
  const Axis& axis = axes.front();
  for (size_t i = 0; i < axis.size; ++i)
    copy_axes(axes.subspan(1), from + i * axis.from_stride, to + i * axis.to_stride, element);
}

}  // namespace

bool TorchTensor::contiguous() const {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
  int64_t expected = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    if (shape[axis] != 1 && strides[axis] != expected) return false;
    expected *= shape[axis];
  }
  return true;
}

Tensor gather_torch_tensor(std::span<const std::byte> file, const TorchTensor& tensor) {
  Tensor result(tensor.dtype, tensor.shape);
  if (result.count() == 0) return result;
  const size_t element = size_of(tensor.dtype);
  std::vector<Axis> axes(tensor.shape.size());
  size_t to_stride = element;
  for (size_t axis = axes.size(); axis-- > 0;) {
    axes[axis] = {static_cast<size_t>(tensor.shape[axis]), static_cast<size_t>(tensor.strides[axis]) * element,
                  to_stride};
    to_stride *= axes[axis].size;
  }
  copy_axes(axes, file.data() + tensor.begin, result.mutable_bytes(), element);
  return result;
}

std::shared_ptr<const TorchFile> TorchFile::open(const std::filesystem::path& path) {
  std::shared_ptr<TorchFile> result(new TorchFile);
  result->file_ = MappedFile::open(path);
  result->tensors_ = parse_torch({result->file_->data(), result->file_->size()}, path.string());
  return result;
}

Tensor TorchFile::tensor(const TorchTensor& tensor) const {
  if (tensor.contiguous()) return mapped_tensor(tensor.dtype, tensor.shape, file_, tensor.begin);
  return gather_torch_tensor({file_->data(), file_->size()}, tensor);
}

}  // namespace espalier
