// Layer densities of sparse training from scratch: the Erdős-Rényi kernel rule (Evci et al., "Rigging the Lottery", 2020).
#pragma once

#include <vector>

#include "espalier/core/tensor.h"

namespace espalier {

// Of each weight shape, such that the sum of d_l n_l is density · sum of n_l: d_l is proportional to the sum of the
// shape's sizes over their product. Where that exceeds 1 the layers with the largest quotient become dense together and
// the others take what is left, again and again. Empty tensors get density 1.
// UserError: no weights at all, density outside (0, 1].
std::vector<double> erk_densities(const std::vector<Shape>& shapes, double density);

}  // namespace espalier
