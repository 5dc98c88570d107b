// Memory for cache pages of one size. Pages come from slabs that grow with the cache, from 128 KB to one large page of the
// system; slabs that no page uses go back to the system. They lie in memory or in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace espalier {

class SlabFile;  // slab_file.h

class PagePool {
 public:
  // page_bytes is rounded up so that pages are aligned to 64 bytes. file: where slabs lie; null: in memory.
  explicit PagePool(size_t page_bytes, std::shared_ptr<SlabFile> file = nullptr);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  std::byte* take();  // zeroed; std::bad_alloc when the system has none, UserError when the file's disk is full
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
  void unmap(const Slab& slab);

  std::shared_ptr<SlabFile> file_;
  size_t page_bytes_;
  uint64_t taken_ = 0;
  std::vector<Slab> slabs_;  // by address
};

}  // namespace espalier
