#include "espalier/lab/training/image_classifier.h"

#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <numbers>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/class_scores.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/picture_batches.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;
using torch::optim::OptimizerParamGroup;

// Parameters that gradients do not change: running statistics, masks of norms, and numbers of the arithmetic that an
// importer found as scalars.
struct Fixed {
  std::set<std::string> statistics, others;

  explicit Fixed(const Graph& graph) {
    for (const auto& node : graph.nodes) {
      for (const auto& [role, name] : node.params) {
        if (is_statistic(node, role)) statistics.insert(name);
        if (role == "mask" || (node.op == "Constant" && graph.parameter(name).count() == 1)) others.insert(name);
      }
    }
  }
};

// The weights as leaves of the gradient, kept zero where a mask says so.
class TrainedWeights {
 public:
  TrainedWeights(const Graph& graph, Weights& weights, const std::map<std::string, WeightMask>& masks) {
    const Fixed fixed(graph);
    for (const auto& parameter : graph.parameters()) {
      const std::string& name = parameter->name();
      at::Tensor value = weights.get(name);
      if (!value.is_floating_point() || fixed.others.count(name)) continue;
      value = value.detach().clone();
      if (fixed.statistics.count(name)) {
        statistics_.emplace_back(name, value);
      } else {
        leaves_.emplace_back(name, value);
        keep_.push_back(mask_of(masks, name, *parameter));
      }
      weights.set(name, value);
    }
    apply_masks();
    for (auto& [name, leaf] : leaves_) leaf.set_requires_grad(true);
  }

  const std::vector<std::pair<std::string, at::Tensor>>& leaves() const { return leaves_; }

  // Removed weights get no gradient, so that neither they nor their momentum ever move.
  void mask_gradients() {
    for (size_t i = 0; i < leaves_.size(); ++i)
      if (keep_[i].defined() && leaves_[i].second.grad().defined()) leaves_[i].second.mutable_grad().mul_(keep_[i]);
  }

  void store(Graph& graph) const {
    for (const auto* list : {&leaves_, &statistics_}) {
      for (const auto& [name, value] : *list) {
        auto& parameter = graph.parameter(name);
        parameter.assign(from_torch(value, parameter.dtype()));
      }
    }
  }

 private:
  static at::Tensor mask_of(const std::map<std::string, WeightMask>& masks, const std::string& name,
                            const Parameter& parameter) {
    const auto mask = masks.find(name);
    if (mask == masks.end()) return {};
    if (mask->second.shape != parameter.shape())
      throw UserError("training", "mask of " + name, to_string(parameter.shape()), to_string(mask->second.shape));
    return bool_mask(mask->second).to(at::kFloat);
  }

  void apply_masks() {
    at::NoGradGuard no_gradients;
    for (size_t i = 0; i < leaves_.size(); ++i)
      if (keep_[i].defined()) leaves_[i].second.mul_(keep_[i]);
  }

  std::vector<std::pair<std::string, at::Tensor>> leaves_, statistics_;
  std::vector<at::Tensor> keep_;
};

template <typename Options>
std::vector<OptimizerParamGroup> groups_of(const TrainedWeights& weights, const ClassifierTraining& options,
                                           Options settings) {
  std::vector<at::Tensor> decayed, others;
  for (const auto& [name, leaf] : weights.leaves())
    (leaf.dim() > 1 || options.decay_vectors ? decayed : others).push_back(leaf);
  std::vector<OptimizerParamGroup> groups;
  groups.emplace_back(decayed, std::make_unique<Options>(settings.weight_decay(options.weight_decay)));
  groups.emplace_back(others, std::make_unique<Options>(settings.weight_decay(0)));
  return groups;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const TrainedWeights& weights,
                                                        const ClassifierTraining& options) {
  if (options.optimiser == ClassifierOptimiser::kAdamW) {
    const torch::optim::AdamWOptions settings(options.learning_rate);
    return std::make_unique<torch::optim::AdamW>(groups_of(weights, options, settings), settings);
  }
  const auto settings =
      torch::optim::SGDOptions(options.learning_rate).momentum(options.momentum).nesterov(options.nesterov);
  return std::make_unique<torch::optim::SGD>(groups_of(weights, options, settings), settings);
}

at::Tensor loss_of(const at::Tensor& scores, const at::Tensor& labels, double smoothing) {
  const at::Tensor loss = -scores.gather(1, labels.unsqueeze(1)).mean();
  return smoothing == 0 ? loss : loss * (1 - smoothing) - scores.mean() * smoothing;
}

at::Tensor divergence_of(const at::Tensor& scores, const at::Tensor& target) {
  return (target.exp() * (target - scores)).sum(1).mean();
}

// Class scores of a graph that is only run.
class Teacher {
 public:
  explicit Teacher(const Graph& graph) : graph_(graph), weights_(graph), interpreter_(graph, weights_) {}
  at::Tensor scores(const at::Tensor& pixels) const {
    at::NoGradGuard no_gradients;
    return class_log_probabilities(graph_, interpreter_.forward(pixels), pixels.size(0));
  }

 private:
  const Graph& graph_;
  Weights weights_;
  Interpreter interpreter_;
};

class Trainer {
 public:
  Trainer(const Graph& graph, const ClassifierTraining& options, const std::map<std::string, WeightMask>& masks,
          const Graph* teacher)
      : graph_(graph),
        options_(options),
        weights_(graph),
        trained_(graph, weights_, masks),
        interpreter_(graph, weights_),
        optimizer_(make_optimizer(trained_, options)),
        teacher_(teacher ? std::make_unique<Teacher>(*teacher) : nullptr) {
    interpreter_.train_batch_norms(options.batch_momentum);
  }

  const TrainedWeights& weights() const { return trained_; }

  void step(const LabelledImages& images, int64_t step, int64_t total) {
    for (auto& group : optimizer_->param_groups()) group.options().set_lr(learning_rate_at(options_, step, total));
    optimizer_->zero_grad();
    const at::Tensor scores =
        class_log_probabilities(graph_, interpreter_.forward(images.pixels), images.labels.size(0));
    const at::Tensor loss = teacher_ ? divergence_of(scores, teacher_->scores(images.pixels))
                                     : loss_of(scores, images.labels, options_.label_smoothing);
    const double value = loss.item<double>();
    if (!std::isfinite(value)) user_error("training: the loss became {} at step {}", value, step);
    loss.backward();
    trained_.mask_gradients();
    optimizer_->step();
    loss_sum_ += value;
    hits_ += (scores.argmax(1) == images.labels).sum().item<int64_t>();
    seen_ += images.labels.size(0);
    ++batches_;
  }

  ClassifierReport report(int64_t epoch, int64_t steps) {
    const double seconds = std::chrono::duration<double>(Clock::now() - since_).count();
    const ClassifierReport result{epoch, steps, loss_sum_ / static_cast<double>(batches_),
                                  static_cast<double>(hits_) / static_cast<double>(seen_),
                                  static_cast<double>(seen_) / seconds};
    loss_sum_ = 0;
    hits_ = seen_ = batches_ = 0;
    since_ = Clock::now();
    return result;
  }

 private:
  const Graph& graph_;
  const ClassifierTraining& options_;
  Weights weights_;
  TrainedWeights trained_;
  Interpreter interpreter_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::unique_ptr<Teacher> teacher_;
  double loss_sum_ = 0;
  int64_t hits_ = 0, seen_ = 0, batches_ = 0;
  Clock::time_point since_ = Clock::now();
};

void check_options(const ClassifierTraining& options) {
  if (options.epochs < 0 || (options.epochs == 0 && !options.steps) || (options.steps && *options.steps < 1))
    throw UserError("training", "epochs and steps", "a positive number of at least one of them",
                    fmt::format("{} and {}", options.epochs, options.steps.value_or(0)));
  if (options.nesterov && options.momentum <= 0)
    throw UserError("training", "momentum", "a positive number for Nesterov's", fmt::format("{}", options.momentum));
}

void check_fits(const Graph& graph, const PictureBatches& batches, const LabelledImages& images) {
  if (batch_that_fits(graph, images.pixels.sizes().slice(1).vec(), batches.batch()) != batches.batch())
    throw UserError("training", "model", fmt::format("one that takes batches of {} pictures", batches.batch()),
                    "one that takes a single picture");
  Graph shaped = graph.clone();
  infer_shapes(shaped, {images.pixels.sizes().vec()});
  const Shape& out = shaped.values[static_cast<size_t>(shaped.outputs.at(0))].shape;
  if (out.size() < 2 || batches.largest_label() >= out[1])
    throw UserError("training", "labels", fmt::format("below the model's classes, output {}", to_string(out)),
                    fmt::format("{}", batches.largest_label()));
}

int64_t total_steps(const ClassifierTraining& options, int64_t an_epoch) {
  const int64_t by_epochs = options.epochs * an_epoch;
  if (!options.steps) return by_epochs;
  return options.epochs == 0 ? *options.steps : std::min(*options.steps, by_epochs);
}

}  // namespace

double learning_rate_at(const ClassifierTraining& options, int64_t step, int64_t total) {
  if (step < options.warmup)
    return options.learning_rate * static_cast<double>(step + 1) / static_cast<double>(options.warmup);
  const double done =
      static_cast<double>(step - options.warmup) / static_cast<double>(std::max<int64_t>(1, total - options.warmup));
  if (options.schedule == ClassifierSchedule::kCosine)
    return options.learning_rate *
           (options.final_ratio + (1 - options.final_ratio) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
  double rate = options.learning_rate;
  for (double milestone : options.milestones)
    if (static_cast<double>(step) >= milestone * static_cast<double>(total)) rate *= options.milestone_factor;
  return rate;
}

void train_classifier(Graph& graph, const ImageDataset& dataset, std::span<const int64_t> indices,
                      const ImageInput& input, const ClassifierTraining& options,
                      const std::map<std::string, WeightMask>& masks,
                      const std::function<void(const ClassifierReport&)>& on_report, const Graph* teacher) {
  check_options(options);
  at::AutoGradMode with_gradients(true);
  PictureBatches batches(dataset, indices, input, options.batch, {options.augment, options.shift}, options.seed);
  Trainer trainer(graph, options, masks, teacher);
  const int64_t an_epoch = batches.batches_an_epoch(), total = total_steps(options, an_epoch);
  Progress progress("training", total, "step");
  for (int64_t step = 0; step < total; ++step) {
    check_interrupted();
    const LabelledImages images = batches.next();
    if (step == 0) check_fits(graph, batches, images);
    trainer.step(images, step, total);
    progress.advance(1);
    const bool epoch_ends = (step + 1) % an_epoch == 0;
    if (epoch_ends || step + 1 == total) {
      const auto report = trainer.report(step / an_epoch + 1, step + 1);
      progress.note(fmt::format("loss {:.4f}", report.loss));
      if (on_report) on_report(report);
    }
  }
  trainer.weights().store(graph);
}

}  // namespace espalier
