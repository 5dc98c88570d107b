#include "espalier/lab/repair/repair.h"

#include <torch/optim/adamw.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/repair/classifier.h"
#include "espalier/lab/repair/least_squares.h"
#include "espalier/lab/repair/perp.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

struct RepairOptions {
  int64_t steps = 200, batch = 8, length = 0;
  double lr = 3e-4;
};

RepairOptions read_options(const RepairSettings& given) {
  require_known(given, {"steps", "batch", "length", "lr"});
  RepairOptions result;
  read_positive(given, "steps", result.steps);
  read_positive(given, "batch", result.batch);
  read_positive(given, "length", result.length);
  read_positive(given, "lr", result.lr);
  return result;
}

// All weights, kept zero where a mask says so.
class FullWeights {
 public:
  FullWeights(Graph& graph, const std::map<std::string, at::Tensor>& masks) : masks_(masks) {
    Weights weights(graph);
    for (auto& [name, leaf] : weights.make_trainable()) leaves_[name] = leaf;
  }
  std::vector<at::Tensor> leaves() {
    std::vector<at::Tensor> list;
    for (auto& [name, leaf] : leaves_) list.push_back(leaf);
    return list;
  }
  void install(Weights& weights) {
    for (auto& [name, leaf] : leaves_) weights.set(name, leaf);
  }
  // Momentum would move removed weights otherwise.
  void after_step() {
    at::NoGradGuard no_gradients;
    for (const auto& [name, keep] : masks_) leaves_.at(name).mul_(keep);
  }
  std::map<std::string, at::Tensor> merged() { return {leaves_.begin(), leaves_.end()}; }

 private:
  std::map<std::string, at::Tensor> masks_, leaves_;
};

// Next-token loss, or the divergence from the dense model's distribution.
at::Tensor loss_of(const Interpreter& student, const Interpreter* teacher, const at::Tensor& ids) {
  const at::Tensor inputs = ids.narrow(1, 0, ids.size(1) - 1);
  const at::Tensor logits = student.forward(inputs).flatten(0, 1);
  if (!teacher) return at::cross_entropy_loss(logits, ids.narrow(1, 1, ids.size(1) - 1).flatten());
  at::Tensor target;
  {
    at::NoGradGuard no_gradients;
    target = at::log_softmax(teacher->forward(inputs).flatten(0, 1), -1);
  }
  return (target.exp() * (target - at::log_softmax(logits, -1))).sum(-1).mean();
}

void train(const Graph& graph, FullWeights& trainable, const Graph* dense, const TokenSequences& windows, const RepairOptions& options, Rng rng) {
  at::AutoGradMode with_gradients(true);
  Weights weights(graph);
  const Interpreter student(graph, weights);
  std::unique_ptr<Weights> teacher_weights = dense ? std::make_unique<Weights>(*dense) : nullptr;
  std::unique_ptr<Interpreter> teacher = dense ? std::make_unique<Interpreter>(*dense, *teacher_weights) : nullptr;
  torch::optim::AdamW optimizer(trainable.leaves(), torch::optim::AdamWOptions(options.lr).weight_decay(0));
  Progress progress("repair", options.steps, "step");
  for (int64_t step = 0; step < options.steps; ++step) {
    check_interrupted();
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < options.batch; ++i) rows.push_back(token_tensor(windows[rng.below(windows.size())]));
    const double decay = 1 - static_cast<double>(step) / static_cast<double>(options.steps);
    for (auto& group : optimizer.param_groups()) group.options().set_lr(options.lr * decay);
    optimizer.zero_grad();
    trainable.install(weights);
    const at::Tensor loss = loss_of(student, teacher.get(), at::cat(rows, 0));
    if (!at::isfinite(loss).item<bool>()) user_error("repair: the loss is not finite at step {}", step);
    loss.backward();
    optimizer.step();
    trainable.after_step();
    progress.advance(1);
  }
}

}  // namespace

void check_repair(const std::string& kind, const std::map<std::string, std::string>& given, Task task) {
  if (kind == "ls") {
    least_squares_options(given);
  } else if (kind == "bn" || (task != Task::kText && (kind == "finetune" || kind == "distill"))) {
    check_classifier_repair(kind, given);
  } else if (kind == "lora" && task != Task::kText) {
    user_error("--repair lora is for language models; classifiers of pictures take bn, perp, finetune or distill");
  } else if (kind == "lora") {
    lora_options(given);
  } else if (kind == "perp") {
    perp_options(given);
  } else if (kind == "finetune" || kind == "distill") {
    read_options(given);
  } else {
    throw UserError("--repair", "kind", "none, ls, bn, lora, perp, finetune or distill", printable(kind));
  }
}

void check_repair(const PruneJob& job, const std::string& kind, const std::map<std::string, std::string>& given) {
  check_repair(kind, given, job.model().task);
  if (is_classifier_repair(job, kind)) check_classifier_job(job, kind);
  if (kind == "perp") check_perp_job(job, perp_options(given));
}

std::map<std::string, std::string> repair_defaults(const std::string& kind, Task task) {
  const auto text = [](auto value) { return fmt::format("{}", value); };
  if (kind == "none") return {};
  if (kind == "ls") return {{"damp", text(LeastSquaresOptions().damp)}, {"iterations", text(LeastSquaresOptions().iterations)}};
  if (kind == "perp") return perp_defaults();
  if (kind == "bn" || task != Task::kText) return classifier_repair_defaults(kind);
  if (kind == "lora") return lora_defaults();
  const RepairOptions options;
  return {{"steps", text(options.steps)}, {"batch", text(options.batch)}, {"lr", text(options.lr)}};
}

void repair_model(PruneJob& job, const std::string& kind, const std::map<std::string, std::string>& given) {
  check_repair(job, kind, given);
  if (is_classifier_repair(job, kind)) return repair_classifier(job, kind, given);
  if (kind == "ls") return repair_by_least_squares(job, least_squares_options(given));
  if (kind == "lora") return repair_by_perp(job, lora_options(given));
  if (kind == "perp") return repair_by_perp(job, perp_options(given));
  const RepairOptions options = read_options(given);
  std::map<std::string, at::Tensor> masks;
  for (const auto& [name, mask] : job.masks()) masks[name] = bool_mask(mask);
  const int64_t length = options.length ? options.length : std::min<int64_t>(job.model().context_length, 512);
  const TokenSequences windows = job.windows(INT32_MAX, length);
  const std::optional<Model> dense = kind == "distill" ? std::optional(job.open_dense()) : std::nullopt;
  FullWeights weights(job.graph(), masks);
  train(job.graph(), weights, dense ? &dense->graph : nullptr, windows, options, job.rng("repair/batches"));
  for (const auto& [name, value] : weights.merged()) {
    auto& parameter = job.graph().parameter(name);
    parameter.assign(from_torch(value, parameter.dtype()));
  }
}

}  // namespace espalier
