// Products of a block of weight rows with many vectors. x is packed once a call into words of 32 bits – one fp32, two
// bf16 or four int8 columns –, panels of vectors side by side, so that the kernels broadcast words of the weights,
// which stay as they are in memory, against registers of vectors: no copy of the weights is ever made. Each result is
// summed in the order of its columns whatever the number of vectors, rows and ranks.
#pragma once

#include <cstdint>

namespace espalier {

constexpr int64_t kGemmWords = 512;     // of one pass over a panel: 64 vectors of them fit the second cache
constexpr int64_t kGemmRows = 48;       // of a block, a multiple of every kernel's rows
constexpr int64_t kActivationGroup = 128;  // columns of x that share a scale where the weights have one a row

struct GemmVectors {
  const float* x;  // zeros behind the last column up to a multiple of 64
  int64_t x_stride, vectors, columns;
  int64_t group;       // int8 only: columns that share a scale
  uint32_t* packed;    // [words rounded up to the kernel's lanes, padded vectors]
  float* scales;       // int8: [groups, padded vectors]
  int32_t* offsets;    // int8: [groups, padded vectors], -128 Σ codes of x
};

struct GemmBlock {
  const void* weights;         // the first row
  int64_t stride;              // elements between rows
  const float* weight_scales;  // int8: of the first row
  bool grouped;                // int8: [rows, groups] scales instead of [rows]
  int64_t rows, columns;       // at most kGemmRows
  GemmVectors vectors;         // packed
  float* sums;                 // scratch, [kGemmRows, padded vectors]
  float* y;                    // y[v · y_stride + r]
  int64_t y_stride;
};

struct GemmKernels {
  int64_t lanes;             // vectors are padded to a multiple
  int64_t columns_per_word;  // 1: fp32, 2: bf16, 4: int8 weights
  void (*pack)(const GemmVectors& vectors);
  void (*multiply)(const GemmBlock& block);
};

extern const GemmKernels kGemmFp32Reference, kGemmFp32Avx2, kGemmFp32Avx512, kGemmBf16, kGemmInt8;

// Dense rows to fp32, `stride` floats apart. Kinds of weights as in dense_kernels.h.
struct ExpandRows {
  const void* weights;  // the first row
  const float* scales;  // of the first row
  int64_t rows, columns, group;
  float* target;
  int64_t stride;
};
struct ExpandKernels {
  void (*bf16)(const ExpandRows& rows);
  void (*fp16)(const ExpandRows& rows);
  void (*int8_rows)(const ExpandRows& rows);
  void (*int8_groups)(const ExpandRows& rows);
};
extern const ExpandKernels kExpandAvx2, kExpandAvx512;

}  // namespace espalier
