#include "espalier/lab/tensor_bridge.h"

#include <cstring>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

at::ScalarType torch_type(DType dtype) {
  switch (dtype) {
    case DType::kI64: return at::kLong;
    case DType::kBool: return at::kBool;
    default: return at::kFloat;
  }
}

bool shareable(const Tensor& tensor) {
  const bool same = tensor.dtype() == DType::kF32 || tensor.dtype() == DType::kI64 || tensor.dtype() == DType::kBool;
  return same && tensor.count() > 0 && reinterpret_cast<uintptr_t>(tensor.bytes()) % size_of(tensor.dtype()) == 0;
}

}  // namespace

at::Tensor to_torch(const Tensor& tensor) {
  const at::ScalarType type = torch_type(tensor.dtype());
  if (shareable(tensor)) {
    Tensor owner = tensor;
    return at::from_blob(const_cast<std::byte*>(tensor.bytes()), tensor.shape(), [owner](void*) {}, at::dtype(type));
  }
  at::Tensor result = at::empty(tensor.shape(), at::dtype(type));
  if (type == at::kFloat) {
    convert_to_float(tensor.dtype(), tensor.bytes(), result.data_ptr<float>(), static_cast<size_t>(tensor.count()));
  } else if (tensor.count() > 0) {
    std::memcpy(result.data_ptr(), tensor.bytes(), tensor.byte_size());
  }
  return result;
}

Tensor from_torch(const at::Tensor& tensor, DType dtype) {
  at::Tensor source = tensor.detach().to(torch_type(dtype)).contiguous();
  Tensor result(dtype, source.sizes().vec());
  if (is_floating(dtype)) {
    convert_from_float(dtype, source.data_ptr<float>(), result.mutable_bytes(), static_cast<size_t>(result.count()));
  } else {
    ESP_ASSERT(dtype == DType::kI64 || dtype == DType::kBool, "from_torch to {}", name_of(dtype));
    std::memcpy(result.mutable_bytes(), source.data_ptr(), result.byte_size());
  }
  return result;
}

std::span<double> doubles(const at::Tensor& contiguous) {
  return {contiguous.data_ptr<double>(), static_cast<size_t>(contiguous.numel())};
}

}  // namespace espalier
