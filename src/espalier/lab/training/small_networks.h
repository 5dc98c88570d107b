// Networks that train in seconds on one core, for reproductions: 28 x 28 pictures of one channel, ten classes.
#pragma once

#include <cstdint>
#include <vector>

#include "espalier/families/family.h"

namespace espalier {

// Three convolutions with batch norms, then two Linear layers; 110,796 weights that single-weight methods may remove.
Model small_convnet(uint64_t seed);
// Linear layers of these widths with ReLU between, as LeNet-300-100 is one.
Model small_mlp(const std::vector<int64_t>& hidden, uint64_t seed);

}  // namespace espalier
