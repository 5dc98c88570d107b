// Optimising DuoAttention's gates: the model with each KV head's attention mixed from full and streaming attention must
// give its own final hidden states, while the mean gate is pushed to 0. Nothing but the gates moves.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "espalier/engine/attention/policies/duo_gates.h"
#include "espalier/families/family.h"
#include "espalier/lab/training/passkeys.h"

namespace espalier {

struct DuoTraining {
  int64_t sink = 128, recent = 256;  // of the streaming term
  int64_t steps = 2000;              // one text each
  double lr = 0.02, lambda = 0.05;   // lambda: weight of the mean gate
  // Where the mixture's full term comes from: the dense model's own pass, without gradient (the authors' code), or full
  // attention anew on what flows through the mixed model.
  bool full_from_teacher = true;
  int64_t report_every = 10;
};

// bool [tokens, tokens]: the first `sink` keys and those fewer than `recent` positions back, never the future.
at::Tensor duo_stream_mask(int64_t tokens, int64_t sink, int64_t recent);
// [heads, tokens, size]: full and stream mixed by the gates [KV heads] of their groups, which are clamped to [0, 1].
at::Tensor duo_mix(const at::Tensor& full, const at::Tensor& stream, const at::Tensor& alpha);
// Mean over labels (bool [tokens]) and channels of the squared difference of hidden states [tokens, width].
at::Tensor duo_distillation(const at::Tensor& teacher, const at::Tensor& student, const at::Tensor& labels);
// Mean magnitude of all gates.
at::Tensor duo_penalty(const std::vector<at::Tensor>& alpha);
// base times a factor that rises over the first fifth of the steps and falls over the last, never below a tenth.
double duo_learning_rate(double base, int64_t step, int64_t steps);

struct DuoReport {
  int64_t step;
  double distillation, penalty;  // means since the last report
};

// next: a new text for each step. The gates after training, clamped; sink and recent are not set. UserError unless the
// model is a causal language model.
DuoGates train_duo_gates(const Model& model, const std::function<PasskeySample()>& next, const DuoTraining& options,
                         const std::function<void(const DuoReport&)>& on_report);

}  // namespace espalier
