#include "espalier/io/images/gunzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "espalier/core/error.h"

namespace espalier {
namespace {

class Inflater {
 public:
  Inflater() {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();  // 16: a gzip header
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;

  // Returns how many bytes were written; fewer than asked for only at the end of the file.
  uint64_t read(std::span<const std::byte> file, std::span<uint8_t> to, const std::string& where) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(file.data()));
    stream_.next_out = to.data();
    uint64_t in_left = file.size(), out_left = to.size();
    constexpr uint64_t kMost = std::numeric_limits<uInt>::max();
    while (out_left > 0) {
      const uInt in = static_cast<uInt>(std::min(in_left, kMost)), out = static_cast<uInt>(std::min(out_left, kMost));
      stream_.avail_in = in;
      stream_.avail_out = out;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      in_left -= in - stream_.avail_in;
      out_left -= out - stream_.avail_out;
      if (status == Z_STREAM_END) {
        if (in_left == 0) break;
        inflateReset(&stream_);  // another member follows
      } else if (status == Z_BUF_ERROR || (status == Z_OK && in_left == 0 && out_left > 0)) {
        user_error("{}: gzip: the file ends too early", where);
      } else if (status != Z_OK) {
        user_error("{}: gzip: {} at byte {}", where, stream_.msg ? stream_.msg : "damaged", file.size() - in_left);
      }
    }
    return to.size() - out_left;
  }

 private:
  z_stream stream_{};
};

}  // namespace

bool is_gzip(std::span<const std::byte> file) {
  return file.size() >= 2 && file[0] == std::byte{0x1f} && file[1] == std::byte{0x8b};
}

std::vector<uint8_t> gunzip(std::span<const std::byte> file, uint64_t most, const std::string& where) {
  std::vector<uint8_t> bytes(std::min(most, file.size() * kMaxDeflateRatio));
  bytes.resize(Inflater().read(file, bytes, where));
  return bytes;
}

}  // namespace espalier
