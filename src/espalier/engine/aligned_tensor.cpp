#include "espalier/engine/aligned_tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace espalier {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kLargePage = size_t{1} << 21;

std::shared_ptr<std::byte> allocate(size_t size) {
  const size_t alignment = size >= 2 * kLargePage ? kLargePage : kAlignment;
  const size_t rounded = (size + alignment - 1) / alignment * alignment;
  auto* bytes = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
  if (bytes == nullptr) throw std::bad_alloc();
  if (alignment == kLargePage) madvise(bytes, rounded, MADV_HUGEPAGE);  // a wish: it may be refused
  std::memset(bytes, 0, rounded);
  return {bytes, [](std::byte* p) { std::free(p); }};
}

}  // namespace

AlignedTensor aligned_tensor(DType dtype, Shape shape) {
  const auto size = static_cast<size_t>(element_count(shape)) * size_of(dtype);
  const std::shared_ptr<std::byte> buffer = allocate(std::max<size_t>(size, 1));
  return {Tensor(dtype, std::move(shape), buffer, buffer.get()), buffer.get()};
}

}  // namespace espalier
