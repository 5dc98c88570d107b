// Tensors written out by hand.
#pragma once

#include <vector>

#include "espalier/lab/torch.h"

namespace espalier::test {

inline at::Tensor flags(const std::vector<int>& values) { return at::tensor(values, at::kInt).to(at::kBool); }
inline at::Tensor numbers(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

}  // namespace espalier::test
