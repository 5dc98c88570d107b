#include "espalier/engine/attention/kv_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "espalier/core/dtype.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr int64_t kLanes = 16;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

template <typename T>
T* at(std::byte* page, size_t offset) {
  return reinterpret_cast<T*>(page + offset);
}
template <typename T>
const T* at(const std::byte* page, size_t offset) {
  return reinterpret_cast<const T*>(page + offset);
}

struct F32 {
  using Element = float;
  static constexpr int64_t kGroup = 1;
  static constexpr bool kScaled = false;
  static float encode(float x, float) { return x; }
  static float decode(float x, float) { return x; }
};
struct BF16 {
  using Element = uint16_t;
  static constexpr int64_t kGroup = 2;
  static constexpr bool kScaled = false;
  static uint16_t encode(float x, float) { return float_to_bf16(x); }
  static float decode(uint16_t x, float) { return bf16_to_float(x); }
};
struct I8 {
  using Element = int8_t;
  static constexpr int64_t kGroup = 4;
  static constexpr bool kScaled = true;
  // nearbyint: halves to even. A token with infinities or NaN has a scale of the same kind, so they stay visible.
  static int8_t encode(float x, float inverse) {
    const float rounded = std::nearbyint(x * inverse);
    return rounded >= -127 && rounded <= 127 ? static_cast<int8_t>(rounded) : int8_t{0};
  }
  static float decode(int8_t x, float scale) { return static_cast<float>(x) * scale; }
};

float scale_of(const float* x, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i)
    if (!(std::fabs(x[i]) <= largest)) largest = std::fabs(x[i]);
  return largest == 0 ? 1.0f : largest / 127.0f;
}

// Where a token's key or value begins in its page (in the first form: where those of all tokens do), and its scale.
template <bool key>
size_t part_of(const KvLayout& l, int64_t slot) {
  return (key ? 0 : l.values) + static_cast<size_t>(slot) * l.row_bytes;
}
template <bool key>
size_t scale_of_token(const KvLayout& l, int64_t slot) {
  return (key ? l.key_scales : l.value_scales) + static_cast<size_t>(slot) * (l.row_bytes > 0 ? l.row_bytes : sizeof(float));
}
template <bool key>
int64_t element_of(const KvLayout& l, int64_t group, int64_t c, int64_t slot) {
  if (l.row_bytes > 0) return c;
  return key ? key_index(l.slots, group, c, slot) : value_index(l.width, group, c, slot);
}

template <typename C, bool key>
void write(const KvLayout& l, std::byte* page, int64_t slot, const float* x) {
  auto* target = at<typename C::Element>(page, part_of<key>(l, slot));
  float inverse = 1;
  if constexpr (C::kScaled) {
    const float scale = scale_of(x, l.head_size);
    *at<float>(page, scale_of_token<key>(l, slot)) = scale;
    inverse = 1 / scale;
  }
  for (int64_t c = 0; c < l.head_size; ++c) target[element_of<key>(l, C::kGroup, c, slot)] = C::encode(x[c], inverse);
}

template <typename C, bool key>
void read(const KvLayout& l, const std::byte* page, int64_t slot, float* x) {
  const auto* source = at<typename C::Element>(page, part_of<key>(l, slot));
  const float scale = C::kScaled ? *at<float>(page, scale_of_token<key>(l, slot)) : 1.0f;
  for (int64_t c = 0; c < l.head_size; ++c) x[c] = C::decode(source[element_of<key>(l, C::kGroup, c, slot)], scale);
}

template <typename C>
constexpr KvCodecOps ops_of() {
  return {C::kGroup, sizeof(typename C::Element), C::kScaled, write<C, true>, write<C, false>, read<C, true>, read<C, false>};
}

constexpr KvCodecOps kOps[] = {ops_of<F32>(), ops_of<BF16>(), ops_of<I8>()};

template <typename Element>
void copy_elements(const KvLayout& l, int64_t group, const std::byte* from, int64_t from_slot, std::byte* to, int64_t to_slot) {
  for (int64_t c = 0; c < l.width; ++c) {
    if (l.bits.all() == 0)
      at<Element>(to, 0)[key_index(l.slots, group, c, to_slot)] = at<Element>(from, 0)[key_index(l.slots, group, c, from_slot)];
    at<Element>(to, l.values)[value_index(l.width, group, c, to_slot)] = at<Element>(from, l.values)[value_index(l.width, group, c, from_slot)];
  }
}

}  // namespace

const KvCodecOps& codec_ops(KvCodec codec) { return kOps[static_cast<size_t>(codec)]; }

KvLayout make_layout(KvCodec codec, int64_t page_tokens, int64_t head_size, int64_t extra, const KeyBits& bits, bool rows) {
  ESP_ASSERT(page_tokens >= 1 && page_tokens <= kMaxPageTokens && (page_tokens & (page_tokens - 1)) == 0, "{}", page_tokens);
  const KvCodecOps& ops = codec_ops(codec);
  const bool planes = bits.all() > 0, scaled_keys = planes || ops.scaled;
  KvLayout l;
  l.codec = codec, l.tokens = page_tokens, l.head_size = head_size, l.extra = extra, l.bits = bits;
  l.slots = round_up(page_tokens, kLanes), l.width = round_up(head_size, kLanes);
  const size_t plane = static_cast<size_t>(l.slots * l.width) * ops.element_bytes;
  const size_t column = static_cast<size_t>(l.slots) * sizeof(float);
  const auto key_row = [&](int64_t channels) { return static_cast<size_t>(high_plane_bytes(bits, channels) + low_plane_bytes(bits, channels)); };
  l.value_bytes = static_cast<size_t>(head_size) * ops.element_bytes + (ops.scaled ? sizeof(float) : 0);
  if (rows) {
    ESP_ASSERT(!planes);
    l.values = static_cast<size_t>(l.width) * ops.element_bytes;
    l.key_scales = 2 * l.values, l.value_scales = l.key_scales + sizeof(float);
    l.row_bytes = l.key_scales + (ops.scaled ? kLanes : 0);
    l.positions = static_cast<size_t>(page_tokens) * l.row_bytes;
    l.extras = l.positions + column;
    l.page_bytes = l.extras + static_cast<size_t>(extra) * column;
    l.token_bytes = 2 * l.value_bytes;
    return l;
  }
  l.values = planes ? static_cast<size_t>(round_up(l.slots * static_cast<int64_t>(key_row(l.width)), 64)) : plane;
  l.key_scales = l.values + plane, l.value_scales = l.key_scales + (scaled_keys ? column : 0);
  l.positions = l.value_scales + (ops.scaled ? column : 0);
  l.extras = l.positions + column;
  l.page_bytes = l.extras + static_cast<size_t>(extra) * column;
  l.token_bytes = l.value_bytes + (planes ? key_row(head_size) + sizeof(float) : l.value_bytes);
  return l;
}

void write_key(const KvLayout& l, std::byte* page, int64_t slot, const float* key) {
  if (l.bits.all() > 0) write_plane_key(l, page, slot, key);
  else codec_ops(l.codec).write_key(l, page, slot, key);
}
void read_key(const KvLayout& l, const std::byte* page, int64_t slot, float* key) {
  if (l.bits.all() > 0) read_plane_key(l, page, slot, false, key);
  else codec_ops(l.codec).read_key(l, page, slot, key);
}

void copy_token(const KvLayout& l, const std::byte* from, int64_t from_slot, std::byte* to, int64_t to_slot) {
  const KvCodecOps& ops = codec_ops(l.codec);
  at<int32_t>(to, l.positions)[to_slot] = at<int32_t>(from, l.positions)[from_slot];
  for (int64_t i = 0; i < l.extra; ++i)
    at<float>(to, l.extras)[i * l.slots + to_slot] = at<float>(from, l.extras)[i * l.slots + from_slot];
  if (l.row_bytes > 0) {
    std::memcpy(to + part_of<true>(l, to_slot), from + part_of<true>(l, from_slot), l.row_bytes);
    return;
  }
  if (ops.element_bytes == 4) copy_elements<float>(l, ops.group, from, from_slot, to, to_slot);
  if (ops.element_bytes == 2) copy_elements<uint16_t>(l, ops.group, from, from_slot, to, to_slot);
  if (ops.element_bytes == 1) copy_elements<int8_t>(l, ops.group, from, from_slot, to, to_slot);
  if (l.bits.all() > 0) copy_plane_key(l, from, from_slot, to, to_slot);
  if (ops.scaled || l.bits.all() > 0) at<float>(to, l.key_scales)[to_slot] = at<float>(from, l.key_scales)[from_slot];
  if (ops.scaled) at<float>(to, l.value_scales)[to_slot] = at<float>(from, l.value_scales)[from_slot];
}

}  // namespace espalier
