// Tokens in rows (kv_codec.h), wherever they lie, brought into the form in which the block kernels read a page.
#pragma once

#include <cstddef>
#include <cstdint>

namespace espalier {

enum class SimdLevel : int;

struct RowGather {
  const std::byte* const* rows = nullptr;  // where each token's row begins
  int64_t count = 0;                       // up to kScoreStride
  const std::byte* const* next = nullptr;  // of tokens that are gathered after these, asked of memory meanwhile
  int64_t next_count = 0;
  int64_t width = 0, group = 1;            // channels of a key or value, elements in 4 bytes (1, 2 or 4)
  size_t values = 0;                       // byte offset of the value in a row
};

// keys: [width / group][kScoreStride] units of 4 bytes, token j in column j. values: [count / group][width] likewise, groups
// of tokens interleaved, the last one filled up with zeros; null: keys alone.
using GatherRows = void (*)(const RowGather& from, std::byte* keys, std::byte* values);

GatherRows row_gather(SimdLevel level);

// By level.
void gather_rows_reference(const RowGather& from, std::byte* keys, std::byte* values);
void gather_rows_avx2(const RowGather& from, std::byte* keys, std::byte* values);
void gather_rows_avx512(const RowGather& from, std::byte* keys, std::byte* values);

}  // namespace espalier
