// Memory for cache pages of one size. Pages come from slabs that grow with the cache, from 128 KB to one large page of the
// system; slabs that no page uses go back to the system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace espalier {

class PagePool {
 public:
  explicit PagePool(size_t page_bytes);  // rounded up so that pages are aligned to 64 bytes
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  std::byte* take();  // zeroed; std::bad_alloc when the system has none
  void give(std::byte* page);
  void trim();  // unmaps slabs without pages

  size_t page_bytes() const { return page_bytes_; }
  uint64_t taken_bytes() const { return taken_ * page_bytes_; }
  uint64_t reserved_bytes() const;  // of slabs

 private:
  struct Slab {
    std::byte* memory = nullptr;
    size_t bytes = 0;
    int64_t pages = 0;
    int64_t taken = 0, touched = 0;  // pages from `touched` on have never been used
    std::vector<std::byte*> free;
  };
  void add_slab();

  size_t page_bytes_;
  uint64_t taken_ = 0;
  std::vector<Slab> slabs_;  // by address
};

}  // namespace espalier
