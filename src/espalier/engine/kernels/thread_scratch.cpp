#include "espalier/engine/kernels/thread_scratch.h"

#include <vector>

namespace espalier {

void* thread_scratch(size_t bytes) {
  struct alignas(64) Line {
    char bytes[64];
  };
  static thread_local std::vector<Line> lines;
  const size_t count = bytes / sizeof(Line) + 1;
  if (lines.size() < count) lines.resize(count);
  return lines.data();
}

}  // namespace espalier
