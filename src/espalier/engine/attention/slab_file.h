// Memory that lies in a file: slabs of a PagePool for pages that are read seldom. The file has no name from the start, so that
// nothing of it is left however the process ends. Room on the disk is taken before a slab is used, so that a full disk is
// an error when a slab is asked for and never a fault when it is written to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace espalier {

class SlabFile {
 public:
  // UserError naming the directory if no file can be made there.
  explicit SlabFile(std::filesystem::path directory);
  ~SlabFile();
  SlabFile(const SlabFile&) = delete;
  SlabFile& operator=(const SlabFile&) = delete;

  // A whole number of the system's pages, zeroed. UserError when the disk has no room.
  std::byte* map(size_t bytes);
  void unmap(std::byte* slab, size_t bytes);  // its room on the disk is free again

  uint64_t disk_bytes() const;  // that the file takes now

 private:
  std::filesystem::path directory_;
  int fd_ = -1;
  uint64_t end_ = 0;  // slabs follow one another; the room of unmapped ones is a hole
  struct Place {
    std::byte* memory;
    uint64_t offset;
  };
  std::vector<Place> places_;
};

}  // namespace espalier
