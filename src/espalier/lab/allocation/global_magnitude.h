// Global magnitude pruning (2022): one ranking of |w| over the whole network, optionally with a minimum number of
// weights kept in every layer. Tensors are loaded one at a time, three times each; nothing else is held.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "espalier/core/ranking.h"

namespace espalier {

// A prunable tensor, in checkpoint order (which decides between equal magnitudes); tied tensors must appear once.
struct LayerWeights {
  std::string name;
  int64_t size = 0;
  std::function<at::Tensor()> load;  // any floating type, `size` elements
};

struct GlobalCut {
  double threshold = -1;           // largest removed magnitude, -1 when nothing is; for reports only
  int64_t total = 0, removed = 0;  // removed = floor(sparsity * total + 1e-9), exactly
  std::vector<Cut> cuts;           // of each layer
  std::vector<int64_t> layer_removed;
  std::vector<int64_t> layer_size;
  double density(size_t layer) const;  // kept share; 1 for an empty layer
};

// Removes the k smallest magnitudes of all layers; the lower position in the collected order goes first among equals.
// With min_keep > 0 each layer's min(min_keep, size) largest (the later position first among equals) are protected, and
// the k smallest of the others go. UserError: sparsity outside [0, 1), no layers, NaN (naming the tensor), min_keep < 0
// or so large that k weights cannot be removed.
GlobalCut global_magnitude(const std::vector<LayerWeights>& layers, double sparsity, int64_t min_keep = 0);

// int(N * percent / 100), the released code's `-mt`.
int64_t min_keep_from_percent(int64_t total, double percent);

// Mask (true = kept) of a weight, in its shape, by its layer's cut: each layer on its own, in any order.
at::Tensor magnitude_cut_mask(const at::Tensor& weight, Cut cut);

// Mask without the k smallest magnitudes of one tensor.
at::Tensor magnitude_count_mask(const at::Tensor& weight, int64_t k, const std::string& name);

}  // namespace espalier
