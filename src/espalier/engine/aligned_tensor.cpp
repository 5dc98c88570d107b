#include "espalier/engine/aligned_tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace espalier {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kLargePage = size_t{1} << 21;
// Many weights are smaller than a large page: they share slabs. What has no slab of its own leaves at most a slab's end unused,
// and what was never written takes no memory.
constexpr size_t kSlab = 16 * kLargePage;
constexpr size_t kSmall = 4096;  // below it slabs would only hold tables

size_t rounded_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

std::shared_ptr<std::byte> map(size_t alignment, size_t size) {
  const size_t rounded = rounded_up(size, alignment);
  auto* bytes = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
  if (bytes == nullptr) throw std::bad_alloc();
  if (alignment == kLargePage) madvise(bytes, rounded, MADV_HUGEPAGE);  // a wish: it may be refused
  return {bytes, [](std::byte* p) { std::free(p); }};
}

// The end of the last slab; the slab lives as long as one of its parts.
class Slabs {
 public:
  std::shared_ptr<std::byte> take(size_t size) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<std::byte> slab = slab_.lock();
    if (slab == nullptr || used_ + size > kSlab) {
      slab = map(kLargePage, kSlab);
      slab_ = slab, used_ = 0;
    }
    std::byte* begin = slab.get() + used_;
    used_ += rounded_up(size, kLine);
    return {std::move(slab), begin};
  }

 private:
  std::mutex mutex_;
  std::weak_ptr<std::byte> slab_;
  size_t used_ = 0;
};

std::shared_ptr<std::byte> allocate(size_t size) {
  static Slabs slabs;
  std::shared_ptr<std::byte> bytes = size < kSmall ? map(kLine, size) : size < kSlab / 4 ? slabs.take(size) : map(kLargePage, size);
  std::memset(bytes.get(), 0, rounded_up(size, kLine));
  return bytes;
}

}  // namespace

AlignedTensor aligned_tensor(DType dtype, Shape shape) {
  const auto size = static_cast<size_t>(element_count(shape)) * size_of(dtype);
  const std::shared_ptr<std::byte> buffer = allocate(std::max<size_t>(size, 1));
  return {Tensor(dtype, std::move(shape), buffer, buffer.get()), buffer.get()};
}

}  // namespace espalier
