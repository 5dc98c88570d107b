// The Hessian of a layer's squared output error, made safe to invert, and the triangular factor of its inverse that
// SparseGPT and its kin walk along.
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

// U, upper triangular, with H^-1 = U^T U for the damped H; retries like damped_inverse.
//
// H^-1 is never formed: with J the reversal of rows and columns and J H J = L L^T, R = J L J is upper triangular,
// H = R R^T, and U = R^-1 is the Cholesky factor of H^-1 (which is unique). One factorisation and one triangular inverse
// instead of two factorisations and a full inverse, and no error squared by inverting first.
at::Tensor inverse_factor(const at::Tensor& hessian, double damp, const std::string& name);

}  // namespace espalier
