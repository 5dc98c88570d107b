// Training of a graph in place: the loop, its options, checkpoints and exact resumption. The same seed, threads and
// machine give the same bits, interrupted or not.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "espalier/core/run_dir.h"
#include "espalier/graph/graph.h"
#include "espalier/lab/training/plugin.h"
#include "espalier/lab/training/training.h"
#include "espalier/lab/training/training_task.h"
#include "espalier/structure/mask.h"

namespace espalier {

class DataParallel;  // data_parallel.h

enum class OptimiserKind { kSgd, kAdam, kAdamW };
enum class RateSchedule { kConstant, kCosine, kLinear, kSteps };
enum class TrainPrecision { kFp32, kBf16, kFp16 };

// Settings of the parameters whose names match a pattern ("layers.*.bias"); the first that matches counts.
struct GroupSettings {
  std::string pattern;
  double rate_factor = 1;     // 0: they stay as they are
  double weight_decay = -1;   // below 0: as the others
};

struct TrainOptions {
  int64_t epochs = 0, steps = 0;  // how long; both: what ends first
  int64_t stop = 0;               // leave off after so many of these steps, on the schedule of all; 0: never
  int64_t accumulate = 1;         // batches whose gradients are averaged for a step
  OptimiserKind optimiser = OptimiserKind::kSgd;
  double learning_rate = 0.1;
  double momentum = 0.9;  // SGD
  bool nesterov = false;
  double beta1 = 0.9, beta2 = 0.999;  // Adam, AdamW
  double weight_decay = 0;
  bool decay_vectors = false;  // biases and norms too
  std::vector<GroupSettings> groups;
  RateSchedule schedule = RateSchedule::kCosine;
  int64_t warmup = 0;                            // steps of a linear rise from 0
  double final_ratio = 0;                        // cosine and linear end at learning_rate · final_ratio
  std::vector<double> milestones = {0.5, 0.75};  // kSteps: shares of all steps after which the rate falls …
  double milestone_factor = 0.1;                 // … by this factor
  double clip = 0;                               // greatest L2 norm of all gradients; 0: none
  double average = 0;                            // decay of a moving average of the weights, which is the result; 0: none
  double batch_momentum = 0.1;                   // of batch norms' running statistics
  TrainPrecision precision = TrainPrecision::kFp32;  // of the forward; weights, gradients and optimiser are fp32
  double loss_scale = 0;                         // what losses are multiplied by at first (loss_scaler.h); 0: never
  uint64_t seed = 0;
  int64_t report_every = 50;      // steps; and at the end of epochs
  int64_t evaluate_every = 1;     // epochs, and at the end; 0: never
  int64_t checkpoint_every = 0;   // steps; 0: once a minute
};

// UserError naming the option that is out of its range or contradicts another.
void check_train_options(const TrainOptions& options);
int64_t planned_steps(const TrainOptions& options, int64_t an_epoch);
// Of step 0 … total - 1.
double learning_rate_at(const TrainOptions& options, int64_t step, int64_t total);

struct TrainReport {
  int64_t step, steps, epoch;
  double loss;      // mean since the last report
  double hit_rate;  // on the batches since the last report, as they were seen before each step
  double per_second;
};

struct TrainHooks {
  std::function<void(const TrainReport&)> on_report;
  std::function<void(const std::vector<Metric>&)> on_metrics;  // all so far, with every report
  RunDirectory* run = nullptr;  // checkpoints go here, and a resumed run goes on from the last; null: none
  // The task's batches are then those of all processes together, and each takes its rows. Only process 0 has a run.
  DataParallel* parallel = nullptr;
};

struct TrainResult {
  std::vector<Metric> metrics;
  std::map<std::string, at::Tensor> masks;  // bool, by parameter
  double last_loss = 0;
  int64_t steps_run = 0;
};

// Trains all floating parameters but running statistics, which follow the batches. The graph changes only when the
// training ends well. masks: kept from the start (a pruned model's); plugins may change them.
// UserError: plugins that refuse each other, a loss that is not finite (step, first layer, last checkpoint).
TrainResult train(Graph& graph, TrainingTask& task, const TrainOptions& options, Plugins& plugins,
                  const std::map<std::string, WeightMask>& masks = {}, const TrainHooks& hooks = {});

WeightMask weight_mask(const at::Tensor& keep);

}  // namespace espalier
