// Calibration statistics of a layer's inputs, shared by every criterion and repair that needs them.
//
// Precision: column norms accumulate in fp64. Gram matrices multiply each chunk in fp32 (an fp64 product would be twice
// as slow for nothing: activations carry fp32 noise already) and add it to an fp64 sum up to kWideGram inputs, to an
// fp32 sum above, where an fp64 sum of 11008 inputs would take 970 MB.
// Order: calls add up in the order they are made, a column's tokens in their own order, so norms are the same for any
// number of threads; Gram matrices are as deterministic as the BLAS behind them.
// Padding tokens must not be passed in.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

inline constexpr int64_t kWideGram = 4096;

// c_j = sqrt(sum over tokens of x_j^2).
class ColumnNorms {
 public:
  // `name` is the layer, for errors.
  ColumnNorms(int64_t width, std::string name);

  // x is [..., width], any floating type. UserError when an element is not finite.
  void add(const at::Tensor& x);

  int64_t tokens() const { return tokens_; }
  at::Tensor norms() const;  // fp32 [width]; UserError before the first token

 private:
  std::string name_;
  int64_t tokens_ = 0;
  std::vector<double> squares_;
};

// G = X^T X.
class GramAccumulator {
 public:
  GramAccumulator(int64_t width, std::string name);

  // x is [..., width], any floating type. UserError when an element is not finite (or so large that its square is not).
  void add(const at::Tensor& x);

  int64_t tokens() const { return tokens_; }
  at::Tensor gram() const;          // [width, width]; fp64 up to kWideGram, else fp32; UserError before the first token
  at::Tensor hessian() const;       // (2 / tokens) G, the Hessian of the mean squared output error of one row
  at::Tensor column_norms() const;  // fp32 [width], sqrt of the diagonal

 private:
  void require_tokens() const;
  std::string name_;
  int64_t tokens_ = 0;
  at::Tensor upper_;  // blocks on and above the diagonal; what lies below the blocks is not computed
};

// [..., width] as contiguous fp32 [tokens, width]; UserError naming the layer when the last dimension is another.
at::Tensor as_tokens(const at::Tensor& x, int64_t width, const std::string& name);

}  // namespace espalier
