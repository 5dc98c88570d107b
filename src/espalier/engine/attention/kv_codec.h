// How a page stores the keys and values of its tokens.
//
// Keys lie channel by channel, so that one vector holds the same channel of many tokens and a score needs no sum across
// lanes; values lie token by token. Elements of less than 32 bits are interleaved in groups of 4 bytes: keys along
// channels, values along tokens, which is what multiply-add instructions on pairs and quads want and what shifts undo.
// In rows, the other form, all of a token lies in one place, for who reads few tokens of many pages: key, value, their
// scales. Kernels get such tokens gathered into the first form.
#pragma once

#include <cstddef>
#include <cstdint>

#include "espalier/engine/attention/kv_planes.h"
#include "espalier/engine/attention/sequence.h"

namespace espalier {

constexpr int64_t kMaxPageTokens = 64;  // one bit each in a word

// Where the parts of a page lie. width and slots are padded to whole vectors of 16; padding is zero.
struct KvLayout {
  KvCodec codec = KvCodec::kF32;
  int64_t tokens = 0;     // of a page
  int64_t slots = 0;      // tokens that a row of keys has room for
  int64_t head_size = 0;
  int64_t width = 0;      // head_size, padded
  int64_t extra = 0;      // floats of a policy's own state a token
  KeyBits bits;           // of keys in planes, which lie token by token
  size_t row_bytes = 0;   // from token to token in rows; 0: in the first form
  // Byte offsets; keys are at 0. Of values and scales in rows: inside a row.
  size_t values = 0, key_scales = 0, value_scales = 0, positions = 0, extras = 0;
  size_t page_bytes = 0;
  size_t token_bytes = 0;  // of one token's key and value with their scales, without padding
  size_t value_bytes = 0;  // of these, the value's
};

KvLayout make_layout(KvCodec codec, int64_t page_tokens, int64_t head_size, int64_t extra, const KeyBits& bits = {}, bool rows = false);
// Of a token's key as the layout has it.
void write_key(const KvLayout& layout, std::byte* page, int64_t slot, const float* key);
void read_key(const KvLayout& layout, const std::byte* page, int64_t slot, float* key);

// Element index of channel c of token `slot` in a page's keys and values; group: elements interleaved in 4 bytes.
inline int64_t key_index(int64_t slots, int64_t group, int64_t c, int64_t slot) {
  return (c / group * slots + slot) * group + c % group;
}
inline int64_t value_index(int64_t width, int64_t group, int64_t c, int64_t slot) {
  return (slot / group * width + c) * group + slot % group;
}

// A further codec is one more record, and a kernel where reading through fp32 is too slow.
struct KvCodecOps {
  int64_t group;         // elements interleaved in 4 bytes; 1, 2 or 4
  size_t element_bytes;
  bool scaled;           // one fp32 scale for each token's key, one for its value
  void (*write_key)(const KvLayout& layout, std::byte* page, int64_t slot, const float* key);
  void (*write_value)(const KvLayout& layout, std::byte* page, int64_t slot, const float* value);
  void (*read_key)(const KvLayout& layout, const std::byte* page, int64_t slot, float* key);  // head_size numbers
  void (*read_value)(const KvLayout& layout, const std::byte* page, int64_t slot, float* value);
};

const KvCodecOps& codec_ops(KvCodec codec);

// Copies a token, exactly as it is stored, to another slot or page of the same layout.
void copy_token(const KvLayout& layout, const std::byte* from, int64_t from_slot, std::byte* to, int64_t to_slot);

}  // namespace espalier
