// 42 Sparsity-informed Adaptive Pruning (2023): how many weights each round and each group may lose, from the PQ index of
// what it has left.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/lab/criteria/alive_ranking.h"

namespace espalier {

enum class SapScope { kGlobal, kLayer, kNeuron };
SapScope sap_scope(const std::string& where, const std::string& name);  // UserError naming `where`

struct SapSettings {
  double p = 0.5, q = 1;
  double eta = 0;     // how much of the p-th powers may go
  double gamma = 1;   // scale of the rate
  double beta = 0.9;  // the largest rate of a round
  SapScope scope = SapScope::kLayer;
};
// UserError naming `where`: not 0 < p < q, eta < 0, gamma <= 0, beta outside (0, 1].
void check_sap(const SapSettings& settings, const std::string& where);

// At least how many of d entries of this index must stay when what goes has at most eta times the p-th powers of what
// stays: ceil(d (1 + eta)^(-q / (q - p)) (1 - index)^(p q / (q - p)) - 1e-9), at least one.
int64_t sap_retained(int64_t d, double index, const SapSettings& settings);

struct SapCount {
  int64_t alive = 0, retained = 0;
  double index = 0, rate = 0;
  int64_t removed = 0;  // floor(alive · rate + 1e-9) with rate = min(max(gamma (1 - retained / alive), 0), beta)
};
SapCount sap_count(int64_t alive, double index, const SapSettings& settings);

// What a round does to a group: all layers, one layer, or one output row of a layer.
struct SapGroup {
  int64_t layer = -1, row = -1;  // -1: all
  SapCount count;
};

// One round: the removed smallest magnitudes of each group's alive weights go, lower position first among equals. Weights
// and masks: [outputs, …]. UserError naming `where`: a weight that is not finite.
std::vector<SapGroup> sap_round(const LayerTensors& weights, const LayerTensors& masks, const SapSettings& settings, const std::string& where);

}  // namespace espalier
