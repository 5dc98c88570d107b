// SparseGPT (2023): one pass over the columns; what is removed from a column is made good by the columns after it,
// weighted by the inverse Hessian that all rows share.
//
// The paper factors H^-1 = U^T U and subtracts E U from the columns to come, E the errors of the columns done. The same
// numbers come without inverting H: with R = U^-1 (repair/obs_factor.h) the change y = W_old - W_new satisfies y R = E,
// so a column block starts from W_b + (sum over earlier blocks k of y_k R_kb) U_bb, and only U's diagonal blocks, the
// inverses of R's, are needed. That saves three quarters of the factorisation's work.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "espalier/lab/criteria/masks.h"

namespace espalier {

struct SparseGptOptions {
  double sparsity = 0.5;       // of every column block, over all its rows
  std::optional<NOfM> n_of_m;  // instead of sparsity; chosen row by row when the columns are reached
  int64_t run = 1;             // with sparsity: consecutive inputs of a row that go or stay together
  int64_t block = 128;         // columns whose masks are chosen together; a multiple of m and of run
  double damp = 0.01;          // share of the mean diagonal added to the Hessian
};

struct SparseGptResult {
  at::Tensor weight;  // fp32 [out, in], exactly 0 where removed
  at::Tensor keep;    // bool [out, in]
};

// weight is viewed as [out, in] (fp32); hessian is GramAccumulator::hessian(), [in, in]. Inputs with a zero diagonal
// are dead: their weights become 0. UserError naming the layer: weights or Hessian not finite, options out of range,
// Hessian not positive definite after three retries with ten times the damping.
SparseGptResult sparsegpt(const at::Tensor& weight, const at::Tensor& hessian, const SparseGptOptions& options,
                          const std::string& name);

// How many weights of a layer it removes, whatever they are.
int64_t sparsegpt_removal(int64_t rows, int64_t inputs, const SparseGptOptions& options, const std::string& name);

}  // namespace espalier
