// The dense matrix-vector kernels of each level, behind plain pointers: a level's files may not use inline functions of
// shared headers, because the linker could keep their copy for machines that lack the level.
#pragma once

#include <cstdint>

namespace espalier {

// As MatVec of weight_matrix.h. Rows lie one behind the other; nothing is read behind the last.
struct DenseProduct {
  const void* weights;
  const float* scales;  // int8
  int64_t columns, group;
  const float* x;
  int64_t x_stride, vectors;
  float* y;
  int64_t y_stride, begin, end;
  void* scratch;  // of this thread, aligned to 64 bytes: an fp32 for each column of x, rounded up to 64, where a level wants it
};

// int8_rows: one scale a row; int8_groups: group is 32, 64 or 128.
#define ESPALIER_DENSE_LEVEL(level)                       \
  namespace dense_##level {                               \
  void fp32(const DenseProduct& product);                 \
  void bf16(const DenseProduct& product);                 \
  void fp16(const DenseProduct& product);                 \
  void int8_rows(const DenseProduct& product);            \
  void int8_groups(const DenseProduct& product);          \
  }
ESPALIER_DENSE_LEVEL(reference)
ESPALIER_DENSE_LEVEL(avx2)
ESPALIER_DENSE_LEVEL(avx512)
#undef ESPALIER_DENSE_LEVEL

}  // namespace espalier
