#include "espalier/lab/training/trainer.h"

#include <chrono>
#include <cmath>
#include <numbers>
#include <optional>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/progress.h"
#include "espalier/core/scratch_directory.h"
#include "espalier/core/signals.h"
#include "espalier/engine/statistics.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/autocast.h"
#include "espalier/lab/training/data_parallel.h"
#include "espalier/lab/training/loss_scaler.h"
#include "espalier/lab/training/optimiser.h"

namespace espalier {

using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kState = "training";
constexpr double kCheckpointSeconds = 60;

[[noreturn]] void bad(const char* option, const std::string& expected, double found) {
  throw UserError("training", option, expected, fmt::format("{:g}", found));
}

// What a loss became, or else a plugin's term beside it.
std::string word_of(double loss) {
  return std::isnan(loss) ? "nan" : std::isinf(loss) ? "infinite" : fmt::format("{:g} with plugins' terms that are not finite", loss);
}

// All plugins' observers as one.
class JointObserver {
 public:
  const Observer* of(Plugins& plugins, const Observer* (Plugin::*which)() = &Plugin::observer) {
    std::vector<const Observer*> given;
    for (auto& plugin : plugins)
      if (const Observer* observer = (plugin.get()->*which)()) given.push_back(observer);
    if (given.size() < 2) return given.empty() ? nullptr : given.front();
    joint_.before = [given](NodeId n, const Node& node, std::vector<at::Tensor>& inputs) {
      for (const Observer* one : given)
        if (one->before) one->before(n, node, inputs);
    };
    joint_.after = [given](NodeId n, const Node& node, std::vector<at::Tensor>& outputs) {
      for (const Observer* one : given)
        if (one->after) one->after(n, node, outputs);
    };
    return &joint_;
  }

 private:
  Observer joint_;
};

void check_plugins(const Plugins& plugins) {
  for (const auto& one : plugins)
    for (const auto& other : plugins) {
      if (one == other) continue;
      if (one->id() == other->id()) user_error("training: {} is given twice", one->id());
      if (const std::string why = one->refuses(*other); !why.empty())
        user_error("training: {} cannot run with {}: {}", one->id(), other->id(), why);
    }
}

}  // namespace

void check_train_options(const TrainOptions& options) {
  if (options.epochs < 0 || options.steps < 0 || options.epochs + options.steps == 0)
    throw UserError("training", "epochs and steps", "a positive number of at least one of them",
                    fmt::format("{} and {}", options.epochs, options.steps));
  if (options.stop < 0) bad("stop", "a number of steps from 0 on", static_cast<double>(options.stop));
  if (!(options.loss_scale >= 0)) bad("loss scale", "a number from 0 on", options.loss_scale);
  if (options.accumulate < 1) bad("accumulate", "at least 1", static_cast<double>(options.accumulate));
  if (!(options.learning_rate > 0)) bad("lr", "a positive number", options.learning_rate);
  if (!(options.momentum >= 0 && options.momentum < 1)) bad("momentum", "a number in [0, 1)", options.momentum);
  if (options.nesterov && options.momentum == 0) bad("momentum", "a positive number for Nesterov's", options.momentum);
  if (!(options.beta1 >= 0 && options.beta1 < 1)) bad("beta1", "a number in [0, 1)", options.beta1);
  if (!(options.beta2 >= 0 && options.beta2 < 1)) bad("beta2", "a number in [0, 1)", options.beta2);
  if (!(options.weight_decay >= 0)) bad("weight-decay", "a number from 0 on", options.weight_decay);
  if (options.warmup < 0) bad("warmup", "a number of steps from 0 on", static_cast<double>(options.warmup));
  if (!(options.final_ratio >= 0 && options.final_ratio <= 1)) bad("final-ratio", "a share from 0 to 1", options.final_ratio);
  for (size_t i = 0; i < options.milestones.size(); ++i) {
    const double share = options.milestones[i];
    if (!(share > 0 && share < 1) || (i > 0 && share <= options.milestones[i - 1]))
      bad("milestones", "rising shares of the run between 0 and 1", share);
  }
  if (!(options.milestone_factor > 0 && options.milestone_factor <= 1))
    bad("milestone-factor", "a number above 0, at most 1", options.milestone_factor);
  if (!(options.clip >= 0)) bad("clip", "a norm from 0 on", options.clip);
  if (!(options.average >= 0 && options.average < 1)) bad("average", "a decay in [0, 1)", options.average);
  if (!(options.batch_momentum > 0 && options.batch_momentum <= 1)) bad("batch-momentum", "a number above 0, at most 1", options.batch_momentum);
  if (options.report_every < 1) bad("report-every", "at least 1", static_cast<double>(options.report_every));
}

int64_t planned_steps(const TrainOptions& options, int64_t an_epoch) {
  const int64_t by_epochs = options.epochs * an_epoch;
  if (options.steps == 0) return by_epochs;
  return options.epochs == 0 ? options.steps : std::min(options.steps, by_epochs);
}

double learning_rate_at(const TrainOptions& options, int64_t step, int64_t total) {
  if (step < options.warmup)
    return options.learning_rate * static_cast<double>(step + 1) / static_cast<double>(options.warmup);
  const double done =
      static_cast<double>(step - options.warmup) / static_cast<double>(std::max<int64_t>(1, total - options.warmup));
  const auto between = [&](double share) {
    return options.learning_rate * (options.final_ratio + (1 - options.final_ratio) * share);
  };
  switch (options.schedule) {
    case RateSchedule::kConstant: return options.learning_rate;
    case RateSchedule::kCosine: return between(0.5 * (1 + std::cos(std::numbers::pi * done)));
    case RateSchedule::kLinear: return between(1 - done);
    case RateSchedule::kSteps: break;
  }
  double rate = options.learning_rate;
  for (double milestone : options.milestones)
    if (static_cast<double>(step) >= milestone * static_cast<double>(total)) rate *= options.milestone_factor;
  return rate;
}

WeightMask weight_mask(const at::Tensor& keep) {
  const at::Tensor held = keep.contiguous();
  return WeightMask(held.sizes().vec(), mask_bytes(held));
}

class Trainer {
 public:
  Trainer(const Graph& graph, TrainingTask& task, const TrainOptions& options, Plugins& plugins,
          const std::map<std::string, WeightMask>& masks, const TrainHooks& hooks)
      : options_(options), plugins_(plugins), hooks_(hooks), training_(graph, task, options), scaler_(options.loss_scale) {
    check_plugins(plugins);
    check_precision(options.precision, device());
    if (options.warmup >= training_.steps_ && options.warmup > 0)
      throw UserError("training", "warmup", fmt::format("fewer steps than the run's {}", training_.steps_), fmt::format("{}", options.warmup));
    for (const auto& [name, mask] : masks) training_.set_mask(name, bool_mask(mask));
    for (auto& plugin : plugins_) plugin->before_training(training_);
    training_.start();
    resume();
  }

  void run() {
    const std::string unit = "step";
    do {
      Progress progress("training", end(), unit);
      progress.advance(training_.step_);
      while (training_.step_ < end()) {
        check_interrupted();
        if (hooks_.parallel) {
          step_together();
        } else {
          step();
        }
        progress.advance(1);
        if (report_due()) progress.note(report());
        if (checkpoint_due()) checkpoint();
      }
      evaluate();
    } while (goes_on());
    for (auto& plugin : plugins_) plugin->end(training_);
  }

  TrainResult finish(Graph& graph) {
    training_.store(graph, options_.average > 0);
    TrainResult result;
    for (const auto& [name, entry] : training_.entries_)
      if (entry.keep.defined()) result.masks[name] = entry.keep.to(at::kBool);
    result.metrics = training_.metrics_;
    result.last_loss = training_.last_loss_;
    result.steps_run = training_.steps_run_;
    return result;
  }

 private:
  int64_t end() const { return options_.stop > 0 ? std::min(options_.stop, training_.steps_) : training_.steps_; }

  c10::DeviceType device() const {
    return training_.names_.empty() ? at::kCPU : training_.entry(training_.names_.front()).value.device().type();
  }

  // When a process is lost the weights are still those of the step before, but running statistics have moved on.
  void step_together() {
    const auto before = statistics();
    try {
      step();
    } catch (const UserError& error) {
      if (hooks_.run && !updated_) {
        training_.in_step_ = false;
        set_statistics(before);
        checkpoint();
        user_error("{}; the checkpoint of step {} was written, --resume goes on from it", error.what(), training_.steps_run_);
      }
      throw;
    }
  }

  std::vector<at::Tensor> statistics() const {
    std::vector<at::Tensor> values;
    for (const auto& [name, value] : training_.statistics_) values.push_back(value.clone());
    return values;
  }

  void set_statistics(const std::vector<at::Tensor>& values) {
    for (size_t i = 0; i < values.size(); ++i) training_.statistics_[i].second.copy_(values[i]);
  }

  // Gradients, running statistics and the loss become their means over the processes.
  double average(double loss) {
    std::vector<at::Tensor> tensors;
    for (const auto& name : training_.names_)
      if (const at::Tensor gradient = training_.gradient(name); gradient.defined()) tensors.push_back(gradient);
    for (const auto& [name, value] : training_.statistics_) tensors.push_back(value);
    tensors.push_back(at::full({1}, loss, at::TensorOptions(at::kFloat).device(device())));
    at::NoGradGuard no_gradients;
    hooks_.parallel->average(tensors);
    return tensors.back().item<double>();
  }

  TrainingBatch share_of(TrainingBatch batch) const {
    if (!hooks_.parallel) return batch;
    const int64_t rows = batch.inputs.size(0) / hooks_.parallel->size(), first = rows * hooks_.parallel->rank();
    for (at::Tensor* tensor : {&batch.inputs, &batch.targets, &batch.others, &batch.weights})
      if (tensor->defined()) *tensor = tensor->narrow(0, first, rows);
    return batch;
  }

  void step() {
    updated_ = false;
    training_.in_step_ = true;
    if (scaler_.active()) {
      scaled_gradients();
    } else {
      gradients();
    }
    if (options_.clip > 0) training_.clip_gradients();
    for (auto& plugin : plugins_) plugin->after_backward(training_);
    training_.mask_gradients();
    updated_ = true;
    training_.update();
    for (auto& plugin : plugins_) plugin->after_step(training_);
    loss_sum_ += training_.last_loss_;
    ++reported_steps_;
    if ((training_.step_ + 1) % training_.steps_an_epoch() == 0) end_epoch();
    training_.in_step_ = false;
    ++training_.step_;
    ++training_.steps_run_;
  }

  // Of the step's batches; scaled as the loss is.
  void gradients() {
    training_.optimiser_->clear_gradients();
    const Observer* observer = nullptr;
    double loss = 0;
    for (int64_t i = 0; i < options_.accumulate; ++i) {
      TrainingBatch batch = share_of(training_.task_.batch(training_.step_ * options_.accumulate + i, training_.data_order_));
      for (auto& plugin : plugins_) plugin->on_batch(training_, batch);
      if (i == 0) observer = joint_.of(plugins_);
      loss += forward_and_backward(batch, observer);
    }
    training_.last_loss_ = loss / static_cast<double>(options_.accumulate);
    if (hooks_.parallel) training_.last_loss_ = average(training_.last_loss_);
  }

  // Gradients that overflow under the scale are thrown away, and the step is begun again with a smaller one, so that no
  // method misses the step that it waits for.
  void scaled_gradients() {
    const auto before = statistics();
    const std::tuple counts(hits_, seen_, items_);
    for (gradients(); !scaler_.update(unscale()); gradients()) {
      if (scaler_.exhausted())
        user_error("training: the gradients are not finite at step {}, however small the loss scale is; {}", training_.step_, last_checkpoint());
      set_statistics(before);
      std::tie(hits_, seen_, items_) = counts;
    }
  }

  // True when all are finite.
  bool unscale() {
    at::NoGradGuard no_gradients;
    at::Tensor finite = at::ones({}, at::TensorOptions(at::kBool).device(device()));
    for (const auto& name : training_.names_) {
      at::Tensor gradient = training_.gradient(name);
      if (!gradient.defined()) continue;
      gradient.mul_(1 / scaler_.scale());
      finite = finite.logical_and(at::isfinite(gradient).all());
    }
    return finite.item<bool>();
  }

  double forward_and_backward(const TrainingBatch& batch, const Observer* observer) {
    training_.batch_ = batch;
    const at::Tensor output = training_.output_ = forward(batch.inputs, observer);
    training_.loss_ = training_.task_.loss(training_.graph_, output, batch);
    at::Tensor total = training_.loss_;
    for (auto& plugin : plugins_)
      if (const at::Tensor extra = plugin->extra_loss(training_); extra.defined()) total = total + extra;
    const double value = training_.loss_.item<double>();
    if (!std::isfinite(value) || !std::isfinite(total.item<double>())) not_finite(batch, observer, value);
    if (options_.accumulate > 1) total = total / static_cast<double>(options_.accumulate);
    if (scaler_.active()) total = total * scaler_.scale();
    total.backward();
    training_.output_ = at::Tensor();
    const auto [hits, seen] = training_.task_.hits(output.detach(), batch);
    hits_ += hits;
    seen_ += seen;
    items_ += batch.targets.numel();
    return value;
  }

  // In the precision asked for; what comes out is fp32.
  at::Tensor forward(const at::Tensor& inputs, const Observer* observer) const {
    const Autocast autocast(options_.precision, device());
    return training_.interpreter_->forward(inputs, observer).to(at::kFloat);
  }

  std::string last_checkpoint() const {
    return last_checkpoint_ ? fmt::format("the last checkpoint is of step {}", *last_checkpoint_) : "no checkpoint was written";
  }

  [[noreturn]] void not_finite(const TrainingBatch& batch, const Observer* observer, double loss) {
    at::NoGradGuard no_gradients;
    std::string first;
    Observer watch;
    if (observer) watch.before = observer->before;
    watch.after = [&](NodeId n, const Node& node, std::vector<at::Tensor>& outputs) {
      if (observer && observer->after) observer->after(n, node, outputs);
      for (const auto& output : outputs)
        if (first.empty() && output.is_floating_point() && !at::isfinite(output).all().item<bool>()) first = node.name;
    };
    forward(batch.inputs, &watch);
    const std::string where = first.empty() ? "every layer's output is finite" : "the first layer whose output is not finite is " + first;
    user_error("training: the loss became {} at step {}; {}; {}", word_of(loss), training_.step_, where, last_checkpoint());
  }

  void end_epoch() {
    for (auto& plugin : plugins_) plugin->epoch_end(training_);
    const int64_t epoch = (training_.step_ + 1) / training_.steps_an_epoch();
    if (options_.evaluate_every > 0 && epoch % options_.evaluate_every == 0 && training_.step_ + 1 < training_.steps_) evaluate();
  }

  void evaluate() {
    if (options_.evaluate_every == 0) return;
    JointObserver lasting;
    const Observer* observer = lasting.of(plugins_, &Plugin::lasting_observer);
    for (const auto& [name, value] : training_.task_.evaluate(training_.result(options_.average > 0), observer)) training_.record(name, value);
  }

  bool goes_on() {
    for (auto& plugin : plugins_)
      if (plugin->goes_on(training_)) return true;
    return false;
  }

  bool report_due() const {
    return training_.step_ % options_.report_every == 0 || training_.step_ % training_.steps_an_epoch() == 0 ||
           training_.step_ == end();
  }

  std::string report() {
    const double loss = loss_sum_ / static_cast<double>(reported_steps_);
    const double hit_rate = seen_ == 0 ? 0 : static_cast<double>(hits_) / static_cast<double>(seen_);
    training_.record("loss", loss);
    if (seen_ > 0) training_.record("hit_rate", hit_rate);
    if (options_.schedule != RateSchedule::kConstant) training_.record("lr", learning_rate_at(options_, training_.step_ - 1, training_.steps_));
    if (const double density = training_.density(); density < 1) training_.record("density", density);
    if (scaler_.active()) training_.record("loss_scale", scaler_.scale());
    if (hooks_.on_report)
      hooks_.on_report({training_.step_, training_.steps_, (training_.step_ - 1) / training_.steps_an_epoch() + 1, loss, hit_rate,
                        static_cast<double>(items_) / seconds_since(since_)});
    if (hooks_.on_metrics) hooks_.on_metrics(training_.metrics_);
    loss_sum_ = 0;
    hits_ = seen_ = items_ = reported_steps_ = 0;
    since_ = Clock::now();
    return fmt::format("loss {:.4f}", loss);
  }

  bool checkpoint_due() const {
    if (!hooks_.run || training_.step_ == end()) return false;
    return options_.checkpoint_every > 0 ? training_.steps_run_ % options_.checkpoint_every == 0
                                         : seconds_since(checkpointed_) >= kCheckpointSeconds;
  }

  // The new one stands, and is named as the last, before the old one goes.
  void checkpoint() {
    StateStore state = training_.state();
    for (const auto& plugin : plugins_) {
      StateStore own;
      plugin->save(own);
      state.put("plugin " + plugin->id(), own);
    }
    if (scaler_.active()) state.values["loss scale"] = scaler_.save();
    state.values["report"] = {loss_sum_, reported_steps_, hits_, seen_};
    const std::string name = fmt::format("checkpoint-{}.safetensors", training_.steps_run_);
    state.save(hooks_.run->work() / name);
    hooks_.run->save_state(kState, {{"file", name}, {"step", training_.steps_run_}});
    hooks_.run->keep();
    if (!last_file_.empty() && last_file_ != name) std::filesystem::remove(hooks_.run->work() / last_file_);
    last_file_ = name;
    last_checkpoint_ = training_.steps_run_;
    checkpointed_ = Clock::now();
  }

  void resume() {
    const auto kept = hooks_.run ? hooks_.run->state(kState) : std::nullopt;
    if (kept) {
      last_file_ = kept->at("file").get<std::string>();
      last_checkpoint_ = kept->at("step").get<int64_t>();
    }
    if (hooks_.parallel) return resume_together();
    if (kept) load(StateStore::load(hooks_.run->work() / last_file_));
  }

  // The others have the first process's checkpoint sent, whatever files they see.
  void resume_together() {
    const std::string bytes = hooks_.parallel->from_first(last_file_.empty() ? "" : read_file(hooks_.run->work() / last_file_, UINT64_MAX));
    if (bytes.empty()) return;
    const ScratchDirectory scratch;
    write_file_atomically(scratch.path() / "state.safetensors", bytes);
    const StateStore state = StateStore::load(scratch.path() / "state.safetensors");
    load(state);
  }

  void load(const StateStore& state) {
    training_.load(state);
    for (auto& plugin : plugins_) plugin->load(state.part("plugin " + plugin->id()));
    if (scaler_.active()) scaler_.load(state.values.at("loss scale"));
    const Json& report = state.values.at("report");
    loss_sum_ = report.at(0).get<double>();
    reported_steps_ = report.at(1).get<int64_t>();
    hits_ = report.at(2).get<int64_t>();
    seen_ = report.at(3).get<int64_t>();
    inform("training: goes on from step {}", training_.steps_run_);
  }

  const TrainOptions& options_;
  Plugins& plugins_;
  const TrainHooks& hooks_;
  Training training_;
  LossScaler scaler_;
  JointObserver joint_;
  double loss_sum_ = 0;
  int64_t reported_steps_ = 0, hits_ = 0, seen_ = 0, items_ = 0;
  Clock::time_point since_ = Clock::now(), checkpointed_ = Clock::now();
  bool updated_ = false;  // this step's weights have moved
  std::string last_file_;
  std::optional<int64_t> last_checkpoint_;
};

TrainResult train(Graph& graph, TrainingTask& task, const TrainOptions& options, Plugins& plugins,
                  const std::map<std::string, WeightMask>& masks, const TrainHooks& hooks) {
  check_train_options(options);
  at::AutoGradMode with_gradients(true);
  Trainer trainer(graph, task, options, plugins, masks, hooks);
  trainer.run();
  return trainer.finish(graph);
}

}  // namespace espalier
