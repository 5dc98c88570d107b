// The Hessian of a layer's squared output error, made safe to invert, its inverse, and the triangular
// factor that SparseGPT and its kin walk along.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace espalier {

inline constexpr int64_t kWideHessian = 8192;  // fp64 up to this many inputs, fp32 above

// H + damp * mean(diag H) * I, in the working precision. UserError naming `name` when H is not finite.
at::Tensor damped_hessian(const at::Tensor& hessian, double damp, const std::string& name);

// H^-1 of the damped Hessian; where its Cholesky factorisation fails, damp is multiplied by 10, up to three times, then
// UserError naming the layer.
at::Tensor damped_inverse(const at::Tensor& hessian, double damp, const std::string& name);

// R, upper triangular, with H = R R^T for the damped H; retries like damped_inverse. R^-1 is the upper Cholesky factor
// U of H^-1 = U^T U, that of the SparseGPT and GPTQ papers, without an inverse having been formed: with J the reversal
// of rows and columns, J H J = L L^T and R = J L J. A diagonal block of U is the inverse of the same block of R.
at::Tensor upper_factor(const at::Tensor& hessian, double damp, const std::string& name);

}  // namespace espalier
