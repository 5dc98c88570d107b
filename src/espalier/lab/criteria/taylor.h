// LLM-Pruner's Taylor importances (2023): what the loss would change by if an element became zero, from gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

// Gradients of one weight over the calibration samples. `name` is the weight, for errors.
class TaylorStatistics {
 public:
  explicit TaylorStatistics(std::string name) : name_(std::move(name)) {}

  void add(const at::Tensor& sample_gradient);  // UserError when not finite
  int64_t samples() const { return samples_; }
  at::Tensor gradient() const;  // G: mean over the samples, fp32; UserError before the first sample
  at::Tensor fisher() const;    // F: mean of the squared per-sample gradients, the diagonal Fisher information

 private:
  at::Tensor mean(const at::Tensor& sum) const;
  std::string name_;
  int64_t samples_ = 0;
  at::Tensor sum_, squares_;  // fp64
};

enum class Taylor {
  kParamFirst,   // |G * W|
  kParamSecond,  // |W^2 * F|
  kParamMix,     // |G * W - 0.5 * F * W^2|
  kVector,       // |sum over the row of G * W|, one value a row
};
Taylor taylor_from_name(const std::string& name);  // "param_first", …, "vector"; UserError lists the known ones

// Importance of every element (of every row for kVector: shape [out]).
at::Tensor taylor_importance(Taylor kind, const at::Tensor& weight, const TaylorStatistics& statistics);

// One value a unit: sums over runs of `unit_size` consecutive rows (axis 0) or columns (axis 1) of element importances.
at::Tensor unit_importance(const at::Tensor& elements, int64_t axis, int64_t unit_size);

enum class GroupReduction { kSum, kProduct, kMax, kLast };
GroupReduction group_reduction_from_name(const std::string& name);  // "sum", "prod", "max", "last"

// A coupled group's importance [units] from those of its members, each [units] (a head: rows of q, k, v, columns of o).
at::Tensor reduce_group(GroupReduction reduction, const std::vector<at::Tensor>& members);

}  // namespace espalier
