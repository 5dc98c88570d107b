#include "espalier/engine/attention/page_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <new>

#include "espalier/core/error.h"
#include "espalier/engine/attention/slab_file.h"

namespace espalier {
namespace {

constexpr size_t kLine = 64, kSystemPage = 4096;
constexpr size_t kFirstSlab = size_t{128} << 10;
// One large page of the system: a walk through a long cache would otherwise wait for address translation.
constexpr size_t kLargeSlab = size_t{2} << 20;

// Aligned to kLargeSlab.
std::byte* map_slab(size_t bytes) {
  void* memory = mmap(nullptr, bytes + kLargeSlab, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* begin = static_cast<std::byte*>(memory);
  const size_t before = (kLargeSlab - reinterpret_cast<uintptr_t>(begin) % kLargeSlab) % kLargeSlab;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + bytes, kLargeSlab - before);
  if (bytes >= kLargeSlab) madvise(begin + before, bytes, MADV_HUGEPAGE);
  return begin + before;
}

}  // namespace

PagePool::PagePool(size_t page_bytes, std::shared_ptr<SlabFile> file) : file_(std::move(file)), page_bytes_((page_bytes + kLine - 1) / kLine * kLine) {}

PagePool::~PagePool() {
  for (const Slab& slab : slabs_) unmap(slab);
}

void PagePool::unmap(const Slab& slab) {
  if (file_) {
    file_->unmap(slab.memory, slab.bytes);
  } else {
    munmap(slab.memory, slab.bytes);
  }
}

uint64_t PagePool::reserved_bytes() const {
  uint64_t sum = 0;
  for (const Slab& slab : slabs_) sum += slab.bytes;
  return sum;
}

void PagePool::add_slab() {
  Slab slab;
  slab.bytes = std::max(page_bytes_, std::clamp<size_t>(reserved_bytes(), kFirstSlab, kLargeSlab));
  slab.bytes = (slab.bytes + kSystemPage - 1) / kSystemPage * kSystemPage;
  slab.pages = static_cast<int64_t>(slab.bytes / page_bytes_);
  slab.free.reserve(static_cast<size_t>(slab.pages));  // give() must not allocate
  slabs_.reserve(slabs_.size() + 1);  // nothing fails once the slab is mapped
  slab.memory = file_ ? file_->map(slab.bytes) : map_slab(slab.bytes);
  const auto at = std::upper_bound(slabs_.begin(), slabs_.end(), slab.memory,
                                   [](const std::byte* p, const Slab& s) { return std::less<>()(p, s.memory); });
  slabs_.insert(at, std::move(slab));
}

// The fullest slabs first, so that others run empty.
std::byte* PagePool::take() {
  Slab* best = nullptr;
  for (Slab& slab : slabs_)
    if (slab.taken < slab.pages && (best == nullptr || slab.taken > best->taken)) best = &slab;
  if (best == nullptr) {
    add_slab();
    return take();
  }
  ++best->taken, ++taken_;
  if (best->free.empty()) return best->memory + static_cast<size_t>(best->touched++) * page_bytes_;  // zeroed by the system
  std::byte* page = best->free.back();
  best->free.pop_back();
  std::memset(page, 0, page_bytes_);
  return page;
}

void PagePool::give(std::byte* page) {
  auto slab = std::upper_bound(slabs_.begin(), slabs_.end(), page,
                               [](const std::byte* p, const Slab& s) { return std::less<>()(p, s.memory); });
  ESP_ASSERT(slab != slabs_.begin());
  --slab;
  slab->free.push_back(page);
  --slab->taken, --taken_;
}

void PagePool::trim() {
  std::erase_if(slabs_, [this](const Slab& slab) {
    if (slab.taken == 0) unmap(slab);
    return slab.taken == 0;
  });
}

}  // namespace espalier
