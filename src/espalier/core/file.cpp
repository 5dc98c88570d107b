#include "espalier/core/file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "espalier/core/error.h"

namespace espalier {
namespace {

int64_t mtime_ns(const struct stat& info) { return info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec; }

class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC)) {
    if (fd_ < 0) user_error("{}: cannot open: {}", path.string(), std::strerror(errno));
  }
  ~Descriptor() { ::close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct stat regular_file_info(const Descriptor& descriptor, const std::filesystem::path& path) {
  struct stat info {};
  if (::fstat(descriptor.get(), &info) != 0) user_error("{}: {}", path.string(), std::strerror(errno));
  if (!S_ISREG(info.st_mode)) user_error("{}: not a regular file", path.string());
  return info;
}

// OpenSSL reports by return values; what is hashed here needs memory only, so nothing else can fail.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    require(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
  }
  void update(const void* data, size_t bytes) { require(EVP_DigestUpdate(context_.get(), data, bytes)); }
  std::string hex() {
    unsigned char digest[32];
    require(EVP_DigestFinal_ex(context_.get(), digest, nullptr));
    std::string text;
    for (unsigned char byte : digest) text += fmt::format("{:02x}", byte);
    return text;
  }

 private:
  static void require(bool done) {
    if (!done) throw std::bad_alloc();
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  Descriptor descriptor(path, O_RDONLY);
  struct stat info = regular_file_info(descriptor, path);
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->size_ = static_cast<uint64_t>(info.st_size);
  file->mtime_ns_ = mtime_ns(info);
  file->inode_ = info.st_ino;
  if (file->size_ > 0) {
    void* address = ::mmap(nullptr, file->size_, PROT_READ, MAP_SHARED, descriptor.get(), 0);
    if (address == MAP_FAILED) user_error("{}: cannot map: {}", path.string(), std::strerror(errno));
    file->data_ = static_cast<const std::byte*>(address);
  }
  return file;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::check_unchanged() const {
  struct stat info {};
  if (::stat(path_.c_str(), &info) != 0 || static_cast<uint64_t>(info.st_size) != size_ || mtime_ns(info) != mtime_ns_ ||
      info.st_ino != inode_)
    user_error("{}: the file was changed while espalier was reading it", path_.string());
}

void MappedFile::drop_pages(const std::byte* begin, size_t bytes) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  auto last = (reinterpret_cast<uintptr_t>(begin) + bytes) / page * page;
  if (last > first) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

std::string read_file(const std::filesystem::path& path, uint64_t max_bytes) {
  Descriptor descriptor(path, O_RDONLY);
  struct stat info = regular_file_info(descriptor, path);
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > max_bytes) user_error("{}: {} bytes, more than the {} that such a file may have", path.string(), size, max_bytes);
  std::string content(size, '\0');
  for (uint64_t done = 0; done < size;) {
    ssize_t got = ::read(descriptor.get(), content.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) user_error("{}: cannot read: {}", path.string(), std::strerror(errno));
    if (got == 0) user_error("{}: the file became shorter while espalier was reading it", path.string());
    done += static_cast<uint64_t>(got);
  }
  return content;
}

AtomicFile::AtomicFile(std::filesystem::path target)
    : target_(std::move(target)), partial_(target_.string() + fmt::format(".partial-{}", ::getpid())) {
  fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("create", errno, 0);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(partial_.c_str());
  }
}

void AtomicFile::fail(const char* operation, int error, uint64_t position) {
  user_error("{}: cannot {} at byte {}: {}", target_.string(), operation, position, std::strerror(error));
}

void AtomicFile::write(const void* data, size_t bytes) { write_at(written_, data, bytes); }

void AtomicFile::write_at(uint64_t offset, const void* data, size_t bytes) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    ssize_t put = ::pwrite(fd_, from, bytes, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail("write", put < 0 ? errno : ENOSPC, offset);
    from += put;
    bytes -= static_cast<size_t>(put);
    offset += static_cast<uint64_t>(put);
    written_ = std::max(written_, offset);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail("sync", errno, written_);
  int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0 || ::rename(partial_.c_str(), target_.c_str()) != 0) {
    int error = errno;
    ::unlink(partial_.c_str());
    fail("finish", error, written_);
  }
  fsync_directory(target_.has_parent_path() ? target_.parent_path() : ".");
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

void fsync_directory(const std::filesystem::path& directory) {
  Descriptor descriptor(directory, O_RDONLY | O_DIRECTORY);
  if (::fsync(descriptor.get()) != 0) user_error("{}: cannot sync: {}", directory.string(), std::strerror(errno));
}

std::string sha256_of(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

std::string sha256_of_file(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  constexpr uint64_t kStep = 64u << 20;
  Sha256 hash;
  for (uint64_t at = 0; at < file->size(); at += kStep) {
    const uint64_t bytes = std::min(kStep, file->size() - at);
    hash.update(file->data() + at, bytes);
    file->drop_pages(file->data() + at, bytes);
  }
  return hash.hex();
}

}  // namespace espalier
