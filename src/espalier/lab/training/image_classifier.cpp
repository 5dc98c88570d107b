#include "espalier/lab/training/image_classifier.h"

#include <limits>

#include "espalier/core/error.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {
namespace {

TrainOptions train_options(const ClassifierTraining& given) {
  TrainOptions options;
  options.epochs = given.epochs;
  options.steps = given.steps.value_or(0);
  options.optimiser = given.optimiser == ClassifierOptimiser::kSgd ? OptimiserKind::kSgd : OptimiserKind::kAdamW;
  options.learning_rate = given.learning_rate;
  options.momentum = given.momentum;
  options.nesterov = given.nesterov;
  options.weight_decay = given.weight_decay;
  options.decay_vectors = given.decay_vectors;
  options.schedule = given.schedule == ClassifierSchedule::kCosine ? RateSchedule::kCosine : RateSchedule::kSteps;
  options.final_ratio = given.final_ratio;
  options.milestones = given.milestones;
  options.milestone_factor = given.milestone_factor;
  options.warmup = given.warmup;
  options.batch_momentum = given.batch_momentum;
  options.seed = given.seed;
  options.report_every = std::numeric_limits<int64_t>::max();
  options.evaluate_every = 0;
  return options;
}

}  // namespace

void train_classifier(Graph& graph, const ImageDataset& dataset, std::span<const int64_t> indices,
                      const ImageInput& input, const ClassifierTraining& given,
                      const std::map<std::string, WeightMask>& masks,
                      const std::function<void(const ClassifierReport&)>& on_report, const Graph* teacher) {
  if (given.steps && *given.steps < 1)
    throw UserError("training", "steps", "a positive number", fmt::format("{}", *given.steps));
  const TrainOptions options = train_options(given);
  check_train_options(options);
  PictureTask task(graph, dataset, indices, input,
                   {given.batch, {given.augment, given.shift}, given.label_smoothing, 0, 0, given.seed}, nullptr, teacher);
  Plugins none;
  TrainHooks hooks;
  if (on_report)
    hooks.on_report = [&](const TrainReport& report) {
      on_report({report.epoch, report.step, report.loss, report.hit_rate, report.per_second});
    };
  train(graph, task, options, none, masks, hooks);
}

}  // namespace espalier
