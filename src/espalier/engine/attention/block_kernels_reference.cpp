// Plain loops: the definition of the kernels, and what machines without AVX2 run.
#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/core/dtype.h"
#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/attention/kv_codec.h"
#include "espalier/engine/simd.h"

namespace espalier {
namespace {

float number(float x) { return x; }
float number(uint16_t x) { return bf16_to_float(x); }
float number(int8_t x) { return static_cast<float>(x); }

template <typename Element>
constexpr int64_t kGroup = 4 / sizeof(Element);

template <typename Element>
void scores(const KvBlock& b, const float* q, int64_t rows, float* s) {
  const auto* keys = reinterpret_cast<const Element*>(b.keys);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < b.used; ++j) {
      float sum = 0;
      for (int64_t c = 0; c < b.width; ++c) sum += q[r * b.width + c] * number(keys[key_index(b.slots, kGroup<Element>, c, j)]);
      s[r * kScoreStride + j] = b.key_scales == nullptr ? sum : sum * b.key_scales[j];
    }
}

void softmax(float* s, const uint64_t* masks, int64_t rows, int64_t used, int64_t width, float* maximum, float* sum, float* out) {
  for (int64_t r = 0; r < rows; ++r, s += kScoreStride, out += width) {
    float largest = maximum[r];
    for (int64_t j = 0; j < used; ++j)
      if ((masks[r] >> j & 1) != 0) largest = std::max(largest, s[j]);
    if (largest > maximum[r]) {
      const float shrink = std::exp(maximum[r] - largest);
      for (int64_t c = 0; c < width; ++c) out[c] *= shrink;
      sum[r] *= shrink;
      maximum[r] = largest;
    }
    for (int64_t j = 0; j < used; ++j) {
      s[j] = (masks[r] >> j & 1) != 0 ? std::exp(s[j] - largest) : 0.0f;
      sum[r] += s[j];
    }
  }
}

template <typename Element>
void accumulate(const KvBlock& b, float* s, int64_t rows, float* out) {
  const auto* values = reinterpret_cast<const Element*>(b.values);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < b.used; ++j) {
      const float p = s[r * kScoreStride + j] * (b.value_scales == nullptr ? 1.0f : b.value_scales[j]);
      if (p == 0) continue;
      for (int64_t c = 0; c < b.width; ++c) out[r * b.width + c] += p * number(values[value_index(b.width, kGroup<Element>, c, j)]);
    }
}

void column_sums(const float* s, const uint64_t* masks, const float* log_sum, int64_t rows, int64_t used, float* sums) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < used; ++j)
      if ((masks[r] >> j & 1) != 0) sums[j] += std::exp(s[r * kScoreStride + j] - log_sum[r]);
}

template <typename Element>
constexpr BlockKernels kTable = {nullptr, scores<Element>, softmax, accumulate<Element>, column_sums};

BlockKernels with(const RoundedKernels& rounded) {
  BlockKernels table = kBlockKernelsAvx512[0];
  table.prepare = rounded.prepare, table.scores = rounded.scores, table.softmax = kRoughSoftmax, table.accumulate = rounded.accumulate;
  return table;
}

}  // namespace

const BlockKernels kBlockKernelsReference[3] = {kTable<float>, kTable<uint16_t>, kTable<int8_t>};

const BlockKernels& block_kernels(KvCodec codec, SimdLevel level) {
  const auto at = static_cast<size_t>(codec);
  if (level == SimdLevel::kAvx512Bf16 && codec != KvCodec::kF32) {
    static const BlockKernels bf16 = with(kBF16Pairs), int8 = with(kInt8Vnni);
    return codec == KvCodec::kBF16 ? bf16 : int8;
  }
  if (level >= SimdLevel::kAvx512) return kBlockKernelsAvx512[at];
  return level == SimdLevel::kAvx2 ? kBlockKernelsAvx2[at] : kBlockKernelsReference[at];
}

}  // namespace espalier
