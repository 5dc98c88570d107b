// libtorch's optimisers with their state in reach: masks reach into momenta, and checkpoints hold them.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "espalier/lab/training/state_store.h"
#include "espalier/lab/training/trainer.h"

namespace torch::optim {
class Optimizer;
}

namespace espalier {

class TrainOptimiser {
 public:
  struct Slot {
    std::string name;
    at::Tensor value;
    double weight_decay, rate_factor;
  };

  TrainOptimiser(const TrainOptions& options, std::vector<Slot> slots);
  ~TrainOptimiser();

  void step(double learning_rate);
  void clear_gradients();
  // What it gathered for a tensor, in the tensor's shape: empty before the first step.
  std::vector<at::Tensor> gathered(const at::Tensor& value) const;
  uint64_t state_bytes() const;
  void forget_all();

  StateStore save() const;
  void load(const StateStore& state);

 private:
  OptimiserKind kind_;
  std::vector<Slot> slots_;
  std::vector<double> factors_;  // of the optimiser's groups
  std::unique_ptr<torch::optim::Optimizer> optimiser_;
};

}  // namespace espalier
