// What reproductions on pictures have in common that cut at the end of a training.
#pragma once

#include "espalier/families/family.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {

// SGD with momentum, the rate along a cosine to 0, the embedded pictures `batch` at a time.
struct PictureTraining {
  int64_t steps = 300, batch = 64;
  double learning_rate = 0.05, weight_decay = 5e-4;
  uint64_t seed = 0;
};

// Trains the model in place beside the plugins and cuts it as they say; the plugins' findings, by their ids.
Json train_on_pictures(const ReproduceContext& context, Model& model, const PictureTraining& training, Plugins plugins = {},
                       const std::map<std::string, WeightMask>& masks = {});

// Top-1 in percent on the embedded test pictures.
double percent_right(const ReproduceContext& context, const Model& model);

// A model that shares no graph with the other.
Model copy_of(const Model& model);

}  // namespace espalier
