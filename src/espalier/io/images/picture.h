// A decoded picture.
#pragma once

#include <cstdint>
#include <vector>

namespace espalier {

// Pictures above this are refused before anything is allocated for them.
inline constexpr int64_t kMaxPixels = 100'000'000;

struct Picture {
  int64_t height = 0, width = 0, channels = 0;  // channels: 1 grey, 3 RGB
  std::vector<uint8_t> pixels;                  // [height, width, channels]
};

}  // namespace espalier
