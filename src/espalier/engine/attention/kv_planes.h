// Keys as whole numbers of a few bits in two planes, high and low bits apart, so that a first look reads fewer bytes; one
// fp32 scale a token. Values are stored as the cache's codec says.
#pragma once

#include <cstddef>
#include <cstdint>

namespace espalier {

struct KvLayout;

struct KeyBits {
  int high = 0, low = 0;  // 0: keys are not in planes
  int all() const { return high + low; }
};

constexpr int kMostHighBits = 16, kMostLowBits = 8;

// Of one token's key in bytes, padded channels included; low bits up to 4 lie two to a byte.
int64_t high_plane_bytes(const KeyBits& bits, int64_t width);
int64_t low_plane_bytes(const KeyBits& bits, int64_t width);

// max |key| / (2^(high + low - 1) - 1); 1 for a key of zeros.
double key_scale(const KeyBits& bits, const float* key, int64_t channels);
// x / scale, halves to even.
int32_t key_integer(const KeyBits& bits, float x, double scale);
// The high bits at their place: floor(k / 2^low) · 2^low.
inline int32_t high_part(const KeyBits& bits, int32_t k) { return k >> bits.low << bits.low; }

void write_plane_key(const KvLayout& layout, std::byte* page, int64_t slot, const float* key);
// coarse: from the high plane alone.
void read_plane_key(const KvLayout& layout, const std::byte* page, int64_t slot, bool coarse, float* key);
void copy_plane_key(const KvLayout& layout, const std::byte* from, int64_t from_slot, std::byte* to, int64_t to_slot);

}  // namespace espalier
