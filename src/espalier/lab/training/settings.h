// What a user may say about a training, by name: read, checked, with defaults that suit the task.
#pragma once

#include "espalier/lab/methods/option_values.h"
#include "espalier/lab/training/trainer.h"
#include "espalier/requests/requests.h"

namespace espalier {

enum class TrainingKind { kPictures, kText, kMaskedText };

struct TrainSettings {
  TrainOptions options;
  int64_t batch = 0;   // pictures or sequences
  int64_t length = 0;  // tokens of a sequence
  double mask_share = 0.15;
  int64_t limit = 0, evaluation_limit = 0;  // pictures or tokens; 0: all
  bool augment = false;
  int64_t shift = 4;
  double smoothing = 0, mixup = 0;
  double distill = 0, distill_features = 0, distill_attention = 0, temperature = 1;  // weights of the teacher's losses
};

// Names, defaults and documentation; docs/training.md has the same table.
std::vector<OptionSpec> train_option_specs(TrainingKind kind, int64_t context_length);
// UserError naming the option.
TrainSettings read_train_settings(const MethodOptions& given, TrainingKind kind, int64_t context_length, uint64_t seed);
// All options as text, with the defaults.
MethodOptions completed_train_options(const MethodOptions& given, TrainingKind kind, int64_t context_length);

}  // namespace espalier
