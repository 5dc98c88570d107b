// A long byte string as a list of pieces: small ones are copied, large ones are only pointed at, so that a message with
// gigabytes of weights can be measured before it is written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier {

class ByteRope {
 public:
  void copy(std::string_view bytes) {
    if (bytes.empty()) return;
    if (pieces_.empty() || pieces_.back().pointed.data()) pieces_.emplace_back();
    pieces_.back().copied += bytes;
    size_ += bytes.size();
  }
  // The bytes must live as long as the rope.
  void point(std::string_view bytes) {
    if (bytes.size() < kWorthPointing) return copy(bytes);
    pieces_.push_back({{}, bytes});
    size_ += bytes.size();
  }
  void append(ByteRope&& other) {
    for (Piece& piece : other.pieces_) {
      if (piece.pointed.data()) {
        point(piece.pointed);
      } else {
        copy(piece.copied);
      }
    }
  }

  uint64_t size() const { return size_; }
  template <typename Visit>
  void for_each(Visit visit) const {
    for (const Piece& piece : pieces_) visit(piece.pointed.data() ? piece.pointed : std::string_view(piece.copied));
  }

 private:
  static constexpr size_t kWorthPointing = 256;  // below, a piece costs more than the copy
  struct Piece {
    std::string copied;
    std::string_view pointed;
  };
  std::vector<Piece> pieces_;
  uint64_t size_ = 0;
};

}  // namespace espalier
