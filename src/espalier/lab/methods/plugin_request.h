// What a method of kind Plugin is made from.
#pragma once

#include <optional>

#include "espalier/families/family.h"
#include "espalier/lab/methods/option_values.h"
#include "espalier/lab/training/plugin.h"

namespace espalier {

struct TrainOptions;  // lab/training/trainer.h

struct PluginRequest {
  const OptionValues& options;
  std::optional<double> sparsity;  // --sparsity: share to remove, in [0, 1)
  const Model& model;              // as it was opened; its graph is what is trained
  const TrainOptions& training;
  int64_t steps = 0, steps_an_epoch = 0;  // of the training
};

// One plugin a step of a recipe: of the method's factory, its options checked. UserError for a method of another kind.
std::unique_ptr<Plugin> make_plugin(const std::string& method, const std::map<std::string, std::string>& options,
                                    std::optional<double> sparsity, const Model& model, const TrainOptions& training, int64_t steps, int64_t steps_an_epoch);

}  // namespace espalier
