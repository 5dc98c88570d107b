#include "espalier/engine/attention/slab_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "espalier/core/error.h"

namespace espalier {

SlabFile::SlabFile(std::filesystem::path directory) : directory_(std::move(directory)) {
  std::string name = (directory_ / "espalier-slow-XXXXXX").string();
  fd_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) throw UserError(directory_.string(), "slow memory", "a directory in which a file can be made", std::strerror(errno));
  ::unlink(name.c_str());
}

SlabFile::~SlabFile() { ::close(fd_); }

std::byte* SlabFile::map(size_t bytes) {
  places_.reserve(places_.size() + 1);
  const auto offset = static_cast<off_t>(end_);
  int error = EINTR;
  while (error == EINTR) error = ::posix_fallocate(fd_, offset, static_cast<off_t>(bytes));
  if (error != 0) {
    std::error_code unknown;
    const auto space = std::filesystem::space(directory_, unknown);
    throw UserError(directory_.string(), "slow memory", fmt::format("room for {} bytes beside {}", bytes, disk_bytes()),
                    unknown ? std::strerror(error) : fmt::format("{}, {} bytes are free", std::strerror(error), space.available));
  }
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, offset);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  places_.push_back({static_cast<std::byte*>(memory), end_});
  end_ += bytes;
  return places_.back().memory;
}

void SlabFile::unmap(std::byte* slab, size_t bytes) {
  const auto place = std::find_if(places_.begin(), places_.end(), [&](const Place& p) { return p.memory == slab; });
  ESP_ASSERT(place != places_.end());
  ::munmap(slab, bytes);
  // Where a file system has no holes the room comes back with the file's end.
  ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(place->offset), static_cast<off_t>(bytes));
  places_.erase(place);
}

uint64_t SlabFile::disk_bytes() const {
  struct stat status {};
  return ::fstat(fd_, &status) == 0 ? static_cast<uint64_t>(status.st_blocks) * 512 : 0;
}

}  // namespace espalier
