// SliceGPT (2024): the directions of the residual stream that carry least energy are rotated to the end and deleted.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace espalier {

struct PrincipalBasis {
  at::Tensor eigenvalues;  // [d], descending, fp64
  at::Tensor vectors;      // [d, d], fp64; column i belongs to eigenvalue i
};

// Of G = X^T X. Each eigenvector's largest entry is positive, so that the basis does not depend on the LAPACK used.
PrincipalBasis principal_basis(const at::Tensor& gram, const std::string& name);

// X Q_k Q_k^T: what is left of X [..., d] in the k leading directions; same dtype as X.
at::Tensor project(const PrincipalBasis& basis, const at::Tensor& x, int64_t keep);

// ||X - X Q_k Q_k^T||_F^2 = the sum of the trailing eigenvalues.
double lost_energy(const PrincipalBasis& basis, int64_t keep);

// floor(share * width) rounded down to a multiple (at least one multiple, at most the width).
int64_t sliced_width(int64_t width, double share, int64_t multiple);

}  // namespace espalier
