// Products for many rows of x (prefill): y[v][r] = Σ_c W[r][c] · x[v][c], tiles through oneDNN. (Contract of decoder.cpp;
// its implementation may add members.)
#pragma once

#include <memory>

#include "espalier/engine/team.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {

// Scratch of every rank, made before the first product so that none allocates.
class GemmWorkspace {
 public:
  GemmWorkspace();
  ~GemmWorkspace();
  // Room for products with this matrix, up to `vectors` rows of x, by `team` ranks. Called once for each matrix.
  void reserve(const WeightMatrix& matrix, int64_t vectors, int team);

 private:
  friend struct GemmAccess;
  struct State;
  std::unique_ptr<State> state_;
};

// Rank `rank` computes the matrix's rows [rows.begin, rows.end) for all vectors; other ranks do theirs at the same time.
// x rows x_stride floats apart, y rows y_stride apart. No bias.
void gemm(const WeightMatrix& matrix, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride, Slice rows,
          GemmWorkspace& workspace, int rank);

}  // namespace espalier
