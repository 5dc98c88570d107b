// What the sparse kernels of one SIMD level offer, in plain data: their files are compiled for instruction sets that the
// machine may lack, so nothing that the linker could share with other files may appear in them.
#pragma once

#include <cstdint>

namespace espalier::sparse {

constexpr int64_t kScratch = 48;

struct View {
  int64_t rows, columns;
  const void* values;
  const uint8_t* bits;     // bitmap and N:M, bit_stride bytes a row
  int64_t bit_stride;
  const uint16_t* blocks;  // blocks
  const int64_t* offsets;  // bitmap and blocks
  int64_t row_values;      // N:M: values of a row
  int64_t eight_values;    // N:M whose m divides 8: values of eight columns
  const float* scales;     // int8, scale_stride a row
  int64_t scale_stride;
  int group_shift;         // int8 with groups: log2 of the columns of a scale
  void* scratch;           // of this thread, aligned to 64 bytes, kScratch bytes for 8 columns of a vector: for x in another form
};

enum class Kind : int { kRegular, kRuns, kBitmap, kBlocks };  // N:M whose m divides 8; any N:M; bitmap; 1×16 blocks
enum class Code : int { kF32, kBF16, kF16, kI8, kI8Groups };
constexpr int kKinds = 4, kCodes = 5;

using MultiplyRows = void (*)(const View& view, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride,
                              int64_t begin, int64_t end);
// Row `row` as floats at `target`, up to the next multiple of 64 columns.
using ExpandRow = void (*)(const View& view, int64_t row, float* target);

// The same as stored values, not yet times scales: of bf16 and of int8.
using ExpandCodes = void (*)(const View& view, int64_t row, void* target);

struct Level {
  MultiplyRows multiply[kKinds][kCodes];
  ExpandRow expand[kKinds][kCodes];
};

extern const Level kReference;
extern const Level kAvx2;
extern const Level kAvx512;
extern const Level kAvx512Bf16;
extern const ExpandCodes kExpandBF16Codes[kKinds], kExpandI8Codes[kKinds];  // of level avx512bf16

}  // namespace espalier::sparse
