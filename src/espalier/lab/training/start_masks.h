// Networks that are pruned once, before they are trained.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "espalier/lab/training/plugin.h"
#include "espalier/lab/training/prunable.h"

namespace espalier {

struct StartMasks {
  std::string id;
  std::string exclude;
  std::function<LayerTensors(Training&, const PrunableWeights&)> masks;  // bool, one a weight
};
std::unique_ptr<Plugin> make_start_masks(StartMasks settings);  // findings: layers with their densities

// Masks that keep the highest scores of all weights together: all but floor(sparsity · total + 1e-9).
LayerTensors highest_scores(const LayerTensors& scores, double sparsity, const std::string& where);

}  // namespace espalier
