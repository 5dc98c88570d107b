// Copies of some tokens' rows in fast memory, of a head whose pages lie in slow memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace espalier {

struct RowCopies {
  const int32_t* slot_of = nullptr;  // by position, below `positions`; -1: there is no copy. Null: of no token
  int64_t positions = 0;
  const std::byte* rows = nullptr;
  size_t row_bytes = 0;

  const std::byte* find(int64_t position) const {
    if (slot_of == nullptr || position >= positions || slot_of[position] < 0) return nullptr;
    return rows + static_cast<size_t>(slot_of[position]) * row_bytes;
  }
};

}  // namespace espalier
