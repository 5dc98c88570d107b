// Which indices an axis of a Slice takes: ONNX's rules for negative and too large starts and ends.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace espalier {

inline std::vector<int64_t> slice_indices(int64_t size, int64_t start, int64_t end, int64_t step) {
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  auto clamped = [&](int64_t at) { return std::clamp(at < 0 ? std::max(at, -size - 1) + size : at, low, high); };
  std::vector<int64_t> indices;
  const int64_t last = clamped(end);
  for (int64_t at = clamped(start); step > 0 ? at < last : at > last;) {
    indices.push_back(at);
    if (step > size || step < -size) break;
    at += step;
  }
  return indices;
}

}  // namespace espalier
