// What is done with one block of keys and values (a cache page) for some rows of queries, one table for each codec and
// SIMD level. block_attention.cpp drives them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace espalier {

enum class KvCodec : uint8_t;
enum class SimdLevel : int;

constexpr int64_t kScoreStride = 64;  // floats between rows of scores
constexpr int64_t kBlockRows = 32;    // the most query rows of one call
inline int64_t prepared_bytes(int64_t width) { return 2 * width + 64; }

// The layout is that of kv_codec.h.
struct KvBlock {
  const std::byte *keys = nullptr, *values = nullptr;
  const float *key_scales = nullptr, *value_scales = nullptr;  // of scaled codecs
  int64_t slots = 0;         // row stride of the keys, a multiple of 16
  int64_t used = 0;          // slots to look at
  int64_t width = 0;         // channels, a multiple of 16
  int64_t value_bytes = 0;   // of all slots
  ptrdiff_t ahead = 0;       // bytes from this block to the one read next, which is fetched ahead; 0: none
};

// Online softmax: s becomes exp(s - maximum), 0 where the row's mask has no bit; maximum, sum and out follow a rise of
// the maximum. A row that has seen no key has maximum -infinity and sum 0. out [rows, width].
using SoftmaxOfBlock = void (*)(float* s, const uint64_t* masks, int64_t rows, int64_t used, int64_t width, float* maximum, float* sum, float* out);

struct BlockKernels {
  // Where it exists, scores() takes for q what this made of q: [rows, prepared_bytes(width)].
  void (*prepare)(const float* q, int64_t rows, int64_t width, std::byte* prepared);
  // s[r][j] = q[r] · key j for `used` slots rounded up to a whole vector. q [rows, width], s [rows, kScoreStride].
  void (*scores)(const KvBlock& block, const float* q, int64_t rows, float* s);
  SoftmaxOfBlock softmax;
  // out[r] += Σ_j s[r][j] · value j. s may be changed.
  void (*accumulate)(const KvBlock& block, float* s, int64_t rows, float* out);
  // sums[j] += Σ_r exp(s[r][j] - log_sum[r]) where the masks have bits.
  void (*column_sums)(const float* s, const uint64_t* masks, const float* log_sum, int64_t rows, int64_t used, float* sums);
};

const BlockKernels& block_kernels(KvCodec codec, SimdLevel level);

// By codec.
extern const BlockKernels kBlockKernelsReference[3], kBlockKernelsAvx2[3], kBlockKernelsAvx512[3];

// Kernels of the highest level that round queries and probabilities; column sums are those of AVX-512, the softmax is rough.
struct RoundedKernels {
  void (*prepare)(const float* q, int64_t rows, int64_t width, std::byte* prepared);
  void (*scores)(const KvBlock& block, const float* q, int64_t rows, float* s);
  void (*accumulate)(const KvBlock& block, float* s, int64_t rows, float* out);
};
extern const RoundedKernels kBF16Pairs, kInt8Vnni;
extern const SoftmaxOfBlock kRoughSoftmax;

}  // namespace espalier
