// What a training costs whose layers are sparse, as a share of the same training of the dense network.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/lab/criteria/alive_ranking.h"
#include "espalier/lab/training/training.h"

namespace espalier {

// In FLOPs of Linear layers and convolutions. A step has three passes (forward, and backward to inputs and to weights), each
// as many FLOPs as the layers have kept weights' worth; a dense gradient makes the third pass dense. What nobody prunes
// counts as dense. Nominal: kernels that do not skip zeros save nothing.
class SparseCost {
 public:
  SparseCost() = default;
  SparseCost(const Training& training, const std::vector<std::string>& pruned);

  void set_masks(const LayerTensors& masks);  // of the pruned layers, from the next step on
  void add_step(bool dense_gradient);
  double share() const;  // so far; 1 before the first step

  void save(StateStore& state) const;
  void load(const StateStore& state);

 private:
  std::vector<double> flops_;  // forward, dense, of the pruned layers
  double other_ = 0;           // of the other layers
  double now_ = 1, sum_ = 0;   // share of a forward now; summed over steps
  int64_t steps_ = 0;
};

}  // namespace espalier
