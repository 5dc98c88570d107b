// Trainings that a pruning is compared with (Rethinking the Value of Network Pruning, 2018): its fine-tuning, and its shape
// trained from initial weights under the dense model's budget.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/families/family.h"
#include "espalier/lab/methods/option_values.h"
#include "espalier/lab/methods/training/rethinking_value.h"
#include "espalier/lab/training/fresh_weights.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {

struct ControlSettings {
  Counted counted = Counted::kLayers;
  InitialWeights initial{.fan_out = true};  // of classifiers of pictures
};
// What may be said of a control: how multiply-adds are counted and, where weights are new, which.
std::vector<OptionSpec> control_option_specs(const std::string& control, Task task);
ControlSettings control_settings(const OptionValues& values);

struct ControlPlan {
  bool fresh = false;                         // begins with initial weights
  int64_t dense_macs = 0, pruned_macs = 0;    // multiply-adds of layers, of one picture or token
  int64_t epochs = 0, steps = 0;              // what of them the training's options say
  double share = 1;                           // of all multiply-adds of the dense model's training
  Json to_json(const std::string& control) const;
};

// control: finetune, scratch-e, scratch-b, scratch-b-uncapped. `options` are those of the dense model's training; they become
// the control's: finetune takes a quarter of the epochs (steps) at a hundredth of the rate, constant; scratch-e all as they
// are; scratch-b as many as cost what the dense training does, at most twice as many (uncapped: any number).
// UserError: models that are no dense one and its cut.
ControlPlan plan_control(const std::string& control, const Model& dense, const Model& pruned, TrainOptions& options,
                         Counted counted = Counted::kLayers);

// Initial weights as the study has them: He's normal for classifiers of pictures.
void initialise_control(Model& model, uint64_t seed, const InitialWeights& initial);

}  // namespace espalier
