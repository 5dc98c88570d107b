// Which weights to remove so that units with a rectifier wake up: AP, "Selective Activation for De-sparsifying Pruned Neural
// Networks" (2022).
#pragma once

#include <cstdint>
#include <string>

#include "espalier/lab/criteria/alive_ranking.h"

namespace espalier {

enum class ActivatingSign { kNegative, kAny };
enum class ActivatingMetric { kMovement, kMagnitude, kRandom };
ActivatingSign activating_sign(const std::string& where, const std::string& name);      // UserError naming `where`
ActivatingMetric activating_metric(const std::string& where, const std::string& name);  // the same

struct ActivatingChoice {
  ActivatingSign sign = ActivatingSign::kNegative;
  ActivatingMetric metric = ActivatingMetric::kMovement;
};

// |end - start| in fp64: how far training moved each weight.
at::Tensor weight_movement(const at::Tensor& end, const at::Tensor& start);

// Removes the `count` alive weights of the lowest metric, among those of the sign at the end of a training, over all layers
// together; lower position first among equals. Returns how many went: fewer when there are not so many candidates.
// rng: for the metric random.
int64_t remove_holding_down(const LayerTensors& end, const LayerTensors& start, const LayerTensors& masks, int64_t count, const ActivatingChoice& choice,
                            Rng& rng, const std::string& where);

// floor(n · percent / 100 + 1e-9).
int64_t percent_of(int64_t n, double percent);

}  // namespace espalier
