// Products for many rows of x (prefill): y[v][r] = Σ_c W[r][c] · x[v][c].
//
// Dense fp32, bf16 and int8 weights are used in place; other forms are expanded a few rows at a time into scratch that
// fits the second cache. Which arithmetic a matrix gets depends on its form and the SIMD level:
//   fp32, fp16 and everything below level avx512bf16: fp32 products and sums of exact weights.
//   bf16 at avx512bf16: x is rounded to bf16, sums are fp32. Beside fp32 sums: |error of y| ≤ 2^-8 Σ |w x|.
//   int8 at avx512bf16: x becomes int8 with one scale for each vector and 128 columns (or the weights' own group),
//     products and a group's sum are exact. |error of y| ≤ Σ over groups of (max |x| / 254) Σ |w| beside fp32 sums.
// A result has one order of summation whatever the number of vectors, rows and ranks: the same bits always. Decoding's
// kernels (kernels.h) take x as it is and sum in another order: fp32 agrees to about 1e-6 Σ |w x|.
#pragma once

#include <memory>

#include "espalier/engine/simd.h"
#include "espalier/engine/team.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {

// Scratch of every rank, made before the first product so that none allocates.
class GemmWorkspace {
 public:
  explicit GemmWorkspace(SimdLevel level = simd_level());
  ~GemmWorkspace();
  // Room for products with this matrix, up to `vectors` rows of x, by `team` ranks. Called once for each matrix.
  void reserve(const WeightMatrix& matrix, int64_t vectors, int team);
  uint64_t byte_size() const;

 private:
  friend void gemm(const WeightMatrix&, const float*, int64_t, int64_t, float*, int64_t, Slice, GemmWorkspace&, int);
  struct State;
  std::unique_ptr<State> state_;
};

// Rank `rank` computes the matrix's rows [rows.begin, rows.end) for all vectors; other ranks do theirs at the same time.
// x rows x_stride floats apart (readable up to the next multiple of 64 columns, zeros there), y rows y_stride apart. No bias.
void gemm(const WeightMatrix& matrix, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride, Slice rows,
          GemmWorkspace& workspace, int rank);

}  // namespace espalier
