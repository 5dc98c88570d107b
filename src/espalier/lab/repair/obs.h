// Optimal Brain Surgeon: removing weights and moving the others so that the output changes least.
// H = (2/N) X^T X damped (repair/obs_factor.h) is the Hessian of one output row; all rows of a layer share it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace espalier {

// w_q^2 / (2 [H^-1]_qq) for every q: the loss increase of removing that weight alone. w is [in] or [rows, in].
at::Tensor obs_saliency(const at::Tensor& w, const at::Tensor& inverse);

// Removes one weight of a row: w += -(w_q / [H^-1]_qq) H^-1[:, q], w_q = 0 exactly, and takes q out of the inverse
// (row and column q become exactly 0). Returns the new w and inverse, in the dtype of the inverse.
struct ObsStep {
  at::Tensor w, inverse;
};
ObsStep obs_remove(const at::Tensor& w, const at::Tensor& inverse, int64_t q);

// Removes a set Q of inputs from every row at once: W - W_Q ([H^-1]_QQ)^-1 [H^-1]_Q,: , the exact joint optimum; the
// removed columns are exactly 0. W is [rows, in], columns int64 [|Q|]; dtype of W.
at::Tensor obs_remove_columns(const at::Tensor& w, const at::Tensor& inverse, const at::Tensor& columns);

// ||X (W - W_new)^T||_F^2 from G = X^T X; fp64.
double output_error(const at::Tensor& w, const at::Tensor& w_new, const at::Tensor& gram);

}  // namespace espalier
