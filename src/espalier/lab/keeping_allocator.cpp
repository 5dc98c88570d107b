// The laboratory's allocator. The C library maps large tensors anew and gives them back each time, and the system clears
// their pages each time: up to half of the time of a training. Here freed ones are kept for the next of their size.
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <vector>

namespace espalier {
namespace {

constexpr size_t kLarge = size_t{256} << 10;  // smaller ones the C library keeps itself
constexpr size_t kMostKept = size_t{2} << 30;
constexpr size_t kHeader = 64;                // before the data, which stays aligned: its size

size_t kept_limit() {
  const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGE_SIZE);
  return pages > 0 && bytes > 0 ? std::min(kMostKept, static_cast<size_t>(pages) / 8 * static_cast<size_t>(bytes)) : kMostKept / 8;
}

struct Block {
  std::byte* memory;  // of the header
  size_t bytes;       // of the data
};

class KeptBlocks {
 public:
  // The smallest that wastes at most a quarter; null: there is none.
  std::byte* find(size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto best = blocks_.end();
    for (auto it = blocks_.begin(); it != blocks_.end(); ++it)
      if (it->bytes >= bytes && it->bytes - bytes <= bytes / 4 && (best == blocks_.end() || it->bytes < best->bytes)) best = it;
    if (best == blocks_.end()) return nullptr;
    std::byte* memory = best->memory;
    bytes_ -= best->bytes;
    blocks_.erase(best);
    return memory;
  }

  void keep(const Block& block) {
    if (block.bytes > limit_) return c10::free_cpu(block.memory);
    const std::lock_guard lock(mutex_);
    drop_until(limit_ - block.bytes);
    try {
      blocks_.push_back(block);
      bytes_ += block.bytes;
    } catch (const std::bad_alloc&) {
      c10::free_cpu(block.memory);
    }
  }

  // false: nothing was kept.
  bool drop_all() {
    const std::lock_guard lock(mutex_);
    const bool some = !blocks_.empty();
    drop_until(0);
    return some;
  }

 private:
  // Those that were not used for longest go first.
  void drop_until(size_t bytes) {
    auto end = blocks_.begin();
    for (; bytes_ > bytes; ++end) {
      bytes_ -= end->bytes;
      c10::free_cpu(end->memory);
    }
    blocks_.erase(blocks_.begin(), end);
  }

  const size_t limit_ = kept_limit();
  size_t bytes_ = 0;
  std::mutex mutex_;
  std::vector<Block> blocks_;  // by the time they were freed
};

// Lives to the end: tensors of static life give their memory back after everything else.
KeptBlocks& kept() {
  static auto* blocks = new KeptBlocks;
  return *blocks;
}

std::byte* from_system(size_t bytes) {
  try {
    return static_cast<std::byte*>(c10::alloc_cpu(bytes));
  } catch (const std::exception&) {
    if (!kept().drop_all()) throw;
  }
  return static_cast<std::byte*>(c10::alloc_cpu(bytes));
}

void* take(size_t bytes) {
  if (bytes == 0) return nullptr;
  std::byte* memory = bytes < kLarge ? nullptr : kept().find(bytes);
  if (memory == nullptr) {
    memory = from_system(kHeader + bytes);
    std::memcpy(memory, &bytes, sizeof bytes);
  }
  return memory + kHeader;
}

void give_back(void* data) {
  if (data == nullptr) return;
  Block block{static_cast<std::byte*>(data) - kHeader, 0};
  std::memcpy(&block.bytes, block.memory, sizeof block.bytes);
  if (block.bytes < kLarge) c10::free_cpu(block.memory);
  else kept().keep(block);
}

class KeepingAllocator final : public c10::Allocator {
 public:
  // const in torch 1.13, not in 2.x.
  c10::DataPtr allocate(size_t bytes) const { return pointer(bytes); }
  c10::DataPtr allocate(size_t bytes) { return pointer(bytes); }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t bytes) const { std::memcpy(to, from, bytes); }  // asked for by 2.x

 private:
  static c10::DataPtr pointer(size_t bytes) {
    void* data = take(bytes);
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
};

const bool registered = [] {
  c10::SetCPUAllocator(new KeepingAllocator);
  return true;
}();

}  // namespace
}  // namespace espalier
