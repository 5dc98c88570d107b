#include "espalier/engine/attention/kv_planes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "espalier/engine/attention/kv_codec.h"

namespace espalier {
namespace {

std::byte* high_row(const KvLayout& l, std::byte* page, int64_t slot) { return page + slot * high_plane_bytes(l.bits, l.width); }
std::byte* low_row(const KvLayout& l, std::byte* page, int64_t slot) {
  return page + l.slots * high_plane_bytes(l.bits, l.width) + slot * low_plane_bytes(l.bits, l.width);
}
float* scale_of(const KvLayout& l, std::byte* page, int64_t slot) { return reinterpret_cast<float*>(page + l.key_scales) + slot; }

std::byte* writable(const std::byte* page) { return const_cast<std::byte*>(page); }

void put_high(const KvLayout& l, std::byte* row, int64_t c, int32_t high) {
  if (l.bits.high > 8) reinterpret_cast<int16_t*>(row)[c] = static_cast<int16_t>(high);
  else reinterpret_cast<int8_t*>(row)[c] = static_cast<int8_t>(high);
}
int32_t get_high(const KvLayout& l, const std::byte* row, int64_t c) {
  return l.bits.high > 8 ? reinterpret_cast<const int16_t*>(row)[c] : reinterpret_cast<const int8_t*>(row)[c];
}
void put_low(const KvLayout& l, std::byte* row, int64_t c, uint32_t low) {
  auto* bytes = reinterpret_cast<uint8_t*>(row);
  if (l.bits.low > 4) bytes[c] = static_cast<uint8_t>(low);
  else if (l.bits.low > 0) bytes[c / 2] = static_cast<uint8_t>((bytes[c / 2] & (c % 2 == 0 ? 0xf0u : 0x0fu)) | low << (c % 2 * 4));
}
int32_t get_low(const KvLayout& l, const std::byte* row, int64_t c) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(row);
  if (l.bits.low > 4) return bytes[c];
  return l.bits.low == 0 ? 0 : bytes[c / 2] >> (c % 2 * 4) & 0x0f;
}

}  // namespace

int64_t high_plane_bytes(const KeyBits& bits, int64_t width) { return bits.high > 8 ? 2 * width : width; }
int64_t low_plane_bytes(const KeyBits& bits, int64_t width) { return bits.low > 4 ? width : bits.low > 0 ? (width + 1) / 2 : 0; }

double key_scale(const KeyBits& bits, const float* key, int64_t channels) {
  double largest = 0;
  for (int64_t c = 0; c < channels; ++c)
    if (const double size = std::fabs(static_cast<double>(key[c])); !(size <= largest)) largest = size;
  return largest == 0 ? 1.0 : largest / ((int32_t{1} << (bits.all() - 1)) - 1);
}

// Infinities and NaN: the scale is of the same kind, so they stay visible.
int32_t key_integer(const KeyBits& bits, float x, double scale) {
  const double rounded = std::nearbyint(static_cast<double>(x) / scale), most = static_cast<double>((int32_t{1} << (bits.all() - 1)) - 1);
  return rounded >= -most && rounded <= most ? static_cast<int32_t>(rounded) : 0;
}

void write_plane_key(const KvLayout& l, std::byte* page, int64_t slot, const float* key) {
  const double scale = key_scale(l.bits, key, l.head_size);
  *scale_of(l, page, slot) = static_cast<float>(scale);
  std::byte *high = high_row(l, page, slot), *low = low_row(l, page, slot);
  for (int64_t c = 0; c < l.head_size; ++c) {
    const int32_t k = key_integer(l.bits, key[c], scale);
    put_high(l, high, c, k >> l.bits.low);
    put_low(l, low, c, static_cast<uint32_t>(k) & ((1u << l.bits.low) - 1));
  }
}

void read_plane_key(const KvLayout& l, const std::byte* page, int64_t slot, bool coarse, float* key) {
  const float scale = *scale_of(l, writable(page), slot);
  const std::byte *high = high_row(l, writable(page), slot), *low = low_row(l, writable(page), slot);
  for (int64_t c = 0; c < l.head_size; ++c)
    key[c] = scale * static_cast<float>(get_high(l, high, c) * (int32_t{1} << l.bits.low) + (coarse ? 0 : get_low(l, low, c)));
}

void copy_plane_key(const KvLayout& l, const std::byte* from, int64_t from_slot, std::byte* to, int64_t to_slot) {
  std::memcpy(high_row(l, to, to_slot), high_row(l, writable(from), from_slot), static_cast<size_t>(high_plane_bytes(l.bits, l.width)));
  std::memcpy(low_row(l, to, to_slot), low_row(l, writable(from), from_slot), static_cast<size_t>(low_plane_bytes(l.bits, l.width)));
}

}  // namespace espalier
