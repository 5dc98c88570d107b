// Files: mapped reading, whole reading with a bound, and writing that appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

// Read-only map of a regular file. Holds size and mtime of the moment of opening; check_unchanged()
// says whether somebody wrote to it since.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  void check_unchanged() const;                                // UserError naming the file
  void drop_pages(const std::byte* begin, size_t bytes) const;  // tell the kernel that these pages are done with

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  int64_t mtime_ns_ = 0;
  uint64_t inode_ = 0;
};

std::string read_file(const std::filesystem::path& path, uint64_t max_bytes);

// Writes `<path>.partial-<pid>` beside the target; commit() fsyncs, renames over the target and fsyncs the directory.
// Destroyed without commit, it removes the partial file. Every failure (disk full, short write) is a UserError with
// the file's name and the byte position.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void write_at(uint64_t offset, const void* data, size_t bytes);  // anywhere; what nobody writes reads as zeros
  uint64_t bytes_written() const { return written_; }              // the end of the furthest byte; write() goes on there
  void commit();

 private:
  [[noreturn]] void fail(const char* operation, int error, uint64_t position);
  std::filesystem::path target_, partial_;
  int fd_ = -1;
  uint64_t written_ = 0;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view content);
void fsync_directory(const std::filesystem::path& directory);

// Hex SHA-256, so that `sha256sum -c` can check our manifests.
std::string sha256_of(std::string_view bytes);
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace espalier
