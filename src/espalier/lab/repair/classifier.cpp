#include "espalier/lab/repair/classifier.h"

#include "espalier/core/choice.h"
#include "espalier/lab/measure/class_scores.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/repair/batch_norm.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/image_classifier.h"

namespace espalier {
namespace {

constexpr int64_t kSteps = 200;

const std::pair<const char*, ClassifierOptimiser> kOptimisers[] = {{"sgd", ClassifierOptimiser::kSgd},
                                                                   {"adamw", ClassifierOptimiser::kAdamW}};

struct StatisticsOptions {
  int64_t samples = 0, batch = 64;  // samples 0: the run's
};

StatisticsOptions statistics_options(const RepairSettings& given) {
  require_known(given, {"samples", "batch"});
  StatisticsOptions options;
  read_positive(given, "samples", options.samples);
  read_positive(given, "batch", options.batch);
  return options;
}

ClassifierTraining training_options(const RepairSettings& given) {
  require_known(given, {"epochs", "steps", "batch", "optimiser", "lr", "momentum", "weight-decay", "smoothing",
                        "warmup", "augment"});
  ClassifierTraining options;
  options.epochs = 0;
  options.batch = 64;
  options.weight_decay = 5e-4;
  if (const auto optimiser = given.find("optimiser"); optimiser != given.end())
    options.optimiser = choice_from_name("repair.optimiser", optimiser->second, kOptimisers);
  options.learning_rate = options.optimiser == ClassifierOptimiser::kSgd ? 0.01 : 3e-4;
  read_positive(given, "epochs", options.epochs);
  int64_t steps = options.epochs == 0 ? kSteps : 0;
  read_positive(given, "steps", steps);
  if (steps > 0) options.steps = steps;
  read_positive(given, "batch", options.batch);
  read_positive(given, "lr", options.learning_rate);
  read_from_zero(given, "momentum", options.momentum);
  options.nesterov = options.momentum > 0;
  read_from_zero(given, "weight-decay", options.weight_decay);
  read_from_zero(given, "smoothing", options.label_smoothing);
  if (options.label_smoothing >= 1)
    throw UserError("repair", "option repair.smoothing", "a share below 1", fmt::format("{}", options.label_smoothing));
  read_from_zero(given, "warmup", options.warmup);
  read_flag(given, "augment", options.augment);
  return options;
}

// Batches as equal as they can be: a last one of a single picture would have no variance.
void repair_statistics(PruneJob& job, const StatisticsOptions& options) {
  const at::Tensor pixels = job.image_samples(options.samples).pixels;
  const int64_t batch = batch_that_fits(job.graph(), pixels.sizes().slice(1).vec(), options.batch);
  reestimate_batch_norm(job.graph(), at::tensor_split(pixels, (pixels.size(0) + batch - 1) / batch));
}

}  // namespace

bool is_classifier_repair(const PruneJob& job, const std::string& kind) {
  return kind == "bn" || (job.model().task != Task::kText && (kind == "finetune" || kind == "distill"));
}

void check_classifier_repair(const std::string& kind, const RepairSettings& given) {
  if (kind == "bn") {
    statistics_options(given);
  } else {
    training_options(given);
  }
}

void check_classifier_job(const PruneJob& job, const std::string& kind) {
  const Model& model = job.model();
  if (kind == "bn" && !has_batch_statistics(model.graph))
    user_error("--repair bn: {} has no batch norms with running statistics", model.path.string());
  if (model.task != Task::kImages)
    user_error("--repair {}: {} is no classifier of pictures", kind, model.path.string());
  if (!job.has_images())
    user_error("--repair {} needs pictures (--calib: a CIFAR or IDX file, or a folder of images)", kind);
}

RepairSettings classifier_repair_defaults(const std::string& kind) {
  if (kind == "bn") return {{"batch", fmt::format("{}", StatisticsOptions().batch)}};
  const ClassifierTraining options = training_options({});
  return {{"batch", fmt::format("{}", options.batch)},
          {"optimiser", choice_name(options.optimiser, kOptimisers)},
          {"momentum", fmt::format("{}", options.momentum)},
          {"weight-decay", fmt::format("{}", options.weight_decay)}};
}

void repair_classifier(PruneJob& job, const std::string& kind, const RepairSettings& given) {
  if (kind == "bn") return repair_statistics(job, statistics_options(given));
  ClassifierTraining options = training_options(given);
  options.seed = job.settings().seed;
  std::optional<Model> dense;
  if (kind == "distill") dense = job.open_dense();
  train_classifier(job.graph(), job.images(), {}, job.model().image, options, job.masks(), nullptr,
                   dense ? &dense->graph : nullptr);
}

}  // namespace espalier
