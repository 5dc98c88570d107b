// Arms of reproductions that train: a fresh small network, trained on the embedded pictures beside one plugin and measured
// on held-out ones.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "espalier/families/family.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {

struct TrainingArmRequest {
  std::string method;  // "": the dense network
  std::map<std::string, std::string> options = {};
  std::optional<double> sparsity = std::nullopt;
  int64_t steps = 300, batch = 64;
  int64_t pictures = 0;  // the first of the training data; 0: all
  double learning_rate = 0.1, weight_decay = 5e-4;
  uint64_t seed = 0;     // of the order of the data and of what the plugin draws
  bool evaluate = false;  // once an epoch, too
};

struct TrainingArm {
  double accuracy = 0;  // top-1, at the end
  Json findings;        // the plugin's
  TrainResult result;
};

// SGD with momentum 0.9 and a cosine to 0. The model is trained in place.
TrainingArm training_arm(const ReproduceContext& context, Model& model, const TrainingArmRequest& request);

}  // namespace espalier
