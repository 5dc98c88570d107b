#include "espalier/engine/attention/row_gather.h"

#include <cstring>

#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/simd.h"

namespace espalier {

void gather_rows_reference(const RowGather& from, std::byte* keys, std::byte* values) {
  const int64_t units = from.width / from.group;
  for (int64_t j = 0; j < from.count; ++j)
    for (int64_t u = 0; u < units; ++u) std::memcpy(keys + (u * kScoreStride + j) * 4, from.rows[j] + u * 4, 4);
  if (values == nullptr) return;
  const auto element = static_cast<size_t>(4 / from.group);
  const int64_t slots = (from.count + from.group - 1) / from.group * from.group;
  for (int64_t j = 0; j < slots; ++j)
    for (int64_t c = 0; c < from.width; ++c) {
      std::byte* target = values + static_cast<size_t>((j / from.group * from.width + c) * from.group + j % from.group) * element;
      if (j < from.count) std::memcpy(target, from.rows[j] + from.values + static_cast<size_t>(c) * element, element);
      else std::memset(target, 0, element);
    }
}

GatherRows row_gather(SimdLevel level) {
  if (level >= SimdLevel::kAvx512) return gather_rows_avx512;
  return level == SimdLevel::kAvx2 ? gather_rows_avx2 : gather_rows_reference;
}

}  // namespace espalier
