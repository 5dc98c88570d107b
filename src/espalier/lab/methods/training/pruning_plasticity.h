// Pruning plasticity (GraNet, 2021): how well a network in training recovers from one pruning.
#pragma once

#include <cstdint>

#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/training/dynamic_sparse.h"
#include "espalier/lab/training/training_task.h"

namespace espalier {

struct PlasticityTrial {
  double rate = 0.5;  // share of the weights that goes, once
  PruneScope scope = PruneScope::kGlobal;
  bool regrow = false;  // then half of the survivors die and as many grow where the gradient is largest
  int64_t steps = 100;  // of training afterwards, at this constant rate
  double learning_rate = 0.01, momentum = 0.9, weight_decay = 5e-4;
  uint64_t seed = 0;
};

struct Plasticity {
  double before = 0, after = 0;  // accuracy: as it came, and after pruning and training
  double gain() const { return after - before; }
};

// The graph itself stays as it is. The task needs pictures to evaluate on.
Plasticity pruning_plasticity(const Graph& graph, TrainingTask& task, const PlasticityTrial& trial);

// Points of accuracy, of small networks in the middle of their training, mean of three seeds, after `rate` of the weights went.
struct PlasticityPair {
  double regrown = 0, pruned = 0;
};
PlasticityPair mean_plasticity(const ReproduceContext& context, double rate);

}  // namespace espalier
