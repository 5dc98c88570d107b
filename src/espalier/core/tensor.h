// Tensor: dtype + shape + bytes, contiguous and row-major. The bytes are owned or lie in a mapped file;
// copying a Tensor shares them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/core/dtype.h"

namespace espalier {

using Shape = std::vector<int64_t>;

std::string to_string(const Shape& shape);      // "[4, 8]"
int64_t element_count(const Shape& shape);      // product; an assertion on overflow or a negative size

class Tensor {
 public:
  Tensor() = default;
  // Owned and zeroed.
  Tensor(DType dtype, Shape shape);
  // View of bytes kept alive by owner (a mapped file, another tensor); writable only if the owner's are.
  Tensor(DType dtype, Shape shape, std::shared_ptr<const void> owner, const std::byte* bytes);

  static Tensor from_floats(Shape shape, std::span<const float> values);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(size_t axis) const { return shape_.at(axis); }
  int64_t count() const { return count_; }
  size_t byte_size() const { return static_cast<size_t>(count_) * size_of(dtype_); }
  bool defined() const { return data_ != nullptr || count_ == 0; }

  const std::byte* bytes() const { return data_; }
  std::byte* mutable_bytes();  // owned tensors only
  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data_), static_cast<size_t>(count_)};
  }
  template <typename T>
  std::span<T> mutable_as() {
    return {reinterpret_cast<T*>(mutable_bytes()), static_cast<size_t>(count_)};
  }

  std::vector<float> to_floats() const;
  Tensor to(DType dtype) const;  // floating targets only; returns itself when nothing changes

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  int64_t count_ = 0;
  std::shared_ptr<const void> owner_;
  const std::byte* data_ = nullptr;
  bool owned_ = false;
};

// The rows/columns/… of `axis` named in `indices` (ascending or not), copied in that order.
Tensor take(const Tensor& tensor, size_t axis, std::span<const int64_t> indices);

}  // namespace espalier
