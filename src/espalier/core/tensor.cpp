#include "espalier/core/tensor.h"

#include <algorithm>
#include <cstring>

#include "espalier/core/checked.h"
#include "espalier/core/error.h"

namespace espalier {

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

int64_t element_count(const Shape& shape) {
  uint64_t count = 1;
  for (int64_t size : shape) {
    ESP_ASSERT(size >= 0, "negative size in shape {}", to_string(shape));
    auto product = checked_mul(count, static_cast<uint64_t>(size));
    ESP_ASSERT(product && *product <= INT64_MAX, "overflow of shape {}", to_string(shape));
    count = *product;
  }
  return static_cast<int64_t>(count);
}

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), count_(element_count(shape_)), owned_(true) {
  auto buffer = std::make_shared<std::byte[]>(byte_size());
  data_ = buffer.get();
  owner_ = std::shared_ptr<const void>(buffer, buffer.get());
}

Tensor::Tensor(DType dtype, Shape shape, std::shared_ptr<const void> owner, const std::byte* bytes)
    : dtype_(dtype), shape_(std::move(shape)), count_(element_count(shape_)), owner_(std::move(owner)), data_(bytes) {}

Tensor Tensor::from_floats(Shape shape, std::span<const float> values) {
  Tensor tensor(DType::kF32, std::move(shape));
  ESP_ASSERT(static_cast<size_t>(tensor.count()) == values.size());
  std::copy(values.begin(), values.end(), tensor.mutable_as<float>().begin());
  return tensor;
}

std::byte* Tensor::mutable_bytes() {
  ESP_ASSERT(owned_, "writing to a mapped tensor");
  return const_cast<std::byte*>(data_);
}

std::vector<float> Tensor::to_floats() const {
  std::vector<float> values(static_cast<size_t>(count_));
  convert_to_float(dtype_, data_, values.data(), values.size());
  return values;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor result(dtype, shape_);
  auto values = to_floats();
  convert_from_float(dtype, values.data(), result.mutable_bytes(), values.size());
  return result;
}

Tensor take(const Tensor& tensor, size_t axis, std::span<const int64_t> indices) {
  Shape shape = tensor.shape();
  const int64_t old_size = shape.at(axis);
  shape[axis] = static_cast<int64_t>(indices.size());
  size_t inner = size_of(tensor.dtype()), outer = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) inner *= static_cast<size_t>(shape[i]);
  for (size_t i = 0; i < axis; ++i) outer *= static_cast<size_t>(shape[i]);
  Tensor result(tensor.dtype(), shape);
  std::byte* to = result.mutable_bytes();
  for (size_t o = 0; o < outer; ++o) {
    const std::byte* from = tensor.bytes() + o * static_cast<size_t>(old_size) * inner;
    for (int64_t index : indices) {
      ESP_ASSERT(index >= 0 && index < old_size, "index {} of axis {} with size {}", index, axis, old_size);
      std::memcpy(to, from + static_cast<size_t>(index) * inner, inner);
      to += inner;
    }
  }
  return result;
}

}  // namespace espalier
