// Least-squares reconstruction: the surviving weights of every layer that lost inputs or single weights are fitted so that
// the layer gives, from the inputs that the pruned model feeds it, what the dense one gives from its own. No gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "espalier/lab/repair/options.h"

namespace espalier {

class PruneJob;

struct LeastSquaresOptions {
  double damp = 0.01;       // share of the Gram matrix's mean diagonal
  int64_t iterations = 32;  // of conjugate gradients, for layers with single weights removed
};

// Reads damp and iterations; UserError for anything else.
LeastSquaresOptions least_squares_options(const RepairSettings& given);

// The W' that minimises ||X W'^T - T||_F^2 + lambda ||W' - W||_F^2, lambda = damp * mean(diag(X^T X)), with W' = 0 exactly
// wherever `keep` is false. gram = X^T X [in, in], cross = T^T X [out, in]; w [out, in]; keep bool [out, in] or undefined
// (all are kept). Without a mask one Cholesky solution serves all rows. With one every row has normal equations of its
// own, and conjugate gradients from W, preconditioned by the diagonal, walk down all of them at once: the result is
// never worse than W, and exact after as many iterations as a row has kept weights.
at::Tensor fit_survivors(const at::Tensor& w, const at::Tensor& keep, const at::Tensor& gram, const at::Tensor& cross,
                         const LeastSquaresOptions& options, const std::string& name);

// Repairs the job's graph, block by block, on the job's calibration windows; the dense model is opened again. Layers are
// fitted in the order in which they run, each on inputs that come from repaired layers. Masks and biases stay. A layer
// that lost outputs as well stays as it is, with a warning: which ones it kept is not recorded. One block of each
// model is in memory in fp32. UserError when blocks were removed or no layer has anything to fit.
void repair_by_least_squares(PruneJob& job, const LeastSquaresOptions& options);

}  // namespace espalier
