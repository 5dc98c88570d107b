#include "espalier/lab/training/language_model.h"

#include <torch/optim/adamw.h>

#include <chrono>
#include <cmath>
#include <numbers>

#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/core/signals.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

// Windows of length + 1 tokens in an order of its own for every epoch.
class BatchSampler {
 public:
  BatchSampler(const std::vector<int32_t>& tokens, int64_t length, uint64_t seed)
      : tokens_(tokens), length_(length), rng_(seed, "training/windows") {
    if (static_cast<int64_t>(tokens.size()) < 2 * (length + 1))
      user_error("training text: {} tokens, fewer than two windows of {}", tokens.size(), length + 1);
  }

  at::Tensor next(int64_t batch) {
    at::Tensor ids = at::empty({batch, length_ + 1}, at::kLong);
    auto* to = ids.data_ptr<int64_t>();
    for (int64_t b = 0; b < batch; ++b) {
      if (order_.empty()) start_epoch();
      const int64_t begin = order_.back();
      order_.pop_back();
      for (int64_t i = 0; i <= length_; ++i) *to++ = tokens_[static_cast<size_t>(begin + i)];
    }
    return ids;
  }

 private:
  void start_epoch() {
    const int64_t offset = static_cast<int64_t>(rng_.below(static_cast<uint64_t>(length_)));
    for (int64_t at = offset; at + length_ + 1 <= static_cast<int64_t>(tokens_.size()); at += length_) order_.push_back(at);
    rng_.shuffle(order_);
  }

  const std::vector<int32_t>& tokens_;
  int64_t length_;
  Rng rng_;
  std::vector<int64_t> order_;
};

torch::optim::AdamW make_optimizer(const std::vector<std::pair<std::string, at::Tensor>>& leaves, const LanguageTraining& options) {
  std::vector<at::Tensor> matrices, vectors;
  for (const auto& [name, leaf] : leaves) (leaf.dim() > 1 ? matrices : vectors).push_back(leaf);
  auto settings = [&](double decay) {
    auto group = std::make_unique<torch::optim::AdamWOptions>(options.learning_rate);
    group->betas({options.beta1, options.beta2}).weight_decay(decay);
    return group;
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(matrices, settings(options.weight_decay));
  groups.emplace_back(vectors, settings(0));
  return torch::optim::AdamW(groups, torch::optim::AdamWOptions(options.learning_rate));
}

void store_weights(Graph& graph, const std::vector<std::pair<std::string, at::Tensor>>& leaves) {
  for (const auto& [name, leaf] : leaves) {
    auto& parameter = graph.parameter(name);
    parameter.assign(from_torch(leaf, parameter.dtype()));
  }
}

// Scales all gradients so that their common L2 norm is at most `limit`.
void clip_gradients(const std::vector<at::Tensor>& leaves, double limit) {
  std::vector<at::Tensor> norms;
  for (const auto& leaf : leaves) norms.push_back(leaf.grad().norm());
  const double norm = at::stack(norms).norm().item<double>();
  if (norm <= limit) return;
  for (const auto& leaf : leaves) leaf.grad().mul_(limit / (norm + 1e-6));
}

struct Sums {
  double loss = 0, fetch_loss = 0, fetch_right = 0;
  int64_t steps = 0, tokens = 0, fetched = 0;

  TrainingReport report(int64_t step, double seconds) const {
    const auto fetches = static_cast<double>(std::max<int64_t>(1, fetched));
    return {step, loss / static_cast<double>(steps), fetch_loss / fetches, fetch_right / fetches, static_cast<double>(tokens) / seconds};
  }
};

double train_step(const Interpreter& interpreter, const LanguageBatch& batch, Sums& sums) {
  const int64_t length = batch.ids.size(1) - 1;
  const at::Tensor logits = interpreter.forward(batch.ids.narrow(1, 0, length)).flatten(0, 1);
  const at::Tensor labels = batch.ids.narrow(1, 1, length).flatten();
  const at::Tensor nats = at::cross_entropy_loss(logits, labels, {}, at::Reduction::None);
  const at::Tensor loss = batch.weights.defined() ? (nats * batch.weights.flatten()).sum() : nats.mean();
  loss.backward();
  if (batch.fetch.defined()) {
    at::NoGradGuard no_gradients;
    const at::Tensor fetch = batch.fetch.flatten();
    sums.fetch_loss += nats.masked_select(fetch).sum().item<double>();
    sums.fetch_right += logits.argmax(-1).eq(labels).logical_and(fetch).sum().item<double>();
    sums.fetched += fetch.sum().item<int64_t>();
  }
  sums.loss += loss.item<double>();
  sums.tokens += labels.numel();
  ++sums.steps;
  return loss.item<double>();
}

}  // namespace

double learning_rate_at(const LanguageTraining& options, int64_t step) {
  if (step < options.warmup) return options.learning_rate * static_cast<double>(step + 1) / static_cast<double>(options.warmup);
  const double progress = static_cast<double>(step - options.warmup) / static_cast<double>(std::max<int64_t>(1, options.steps - options.warmup));
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return options.learning_rate * (options.final_ratio + (1 - options.final_ratio) * cosine);
}

void train_language_model(Graph& graph, const std::function<LanguageBatch(int64_t step)>& next, const LanguageTraining& options,
                          const std::function<void(const TrainingReport&)>& on_report,
                          const std::function<void(const Graph&)>& on_save) {
  at::AutoGradMode with_gradients(true);
  Weights weights(graph);
  const auto leaves = weights.make_trainable();
  const Interpreter interpreter(graph, weights);
  auto optimizer = make_optimizer(leaves, options);
  std::vector<at::Tensor> all;
  for (const auto& [name, leaf] : leaves) all.push_back(leaf);
  const int64_t steps = options.stop > 0 ? std::min(options.stop, options.steps) : options.steps;
  Sums sums;
  auto last_report = Clock::now();
  for (int64_t step = 0; step < steps; ++step) {
    check_interrupted();
    for (auto& group : optimizer.param_groups()) group.options().set_lr(learning_rate_at(options, step));
    optimizer.zero_grad();
    const double loss = train_step(interpreter, next(step), sums);
    if (!std::isfinite(loss)) user_error("training: the loss became {} at step {}", loss, step);
    clip_gradients(all, options.clip);
    optimizer.step();
    if ((step + 1) % options.report_every == 0 || step + 1 == steps) {
      on_report(sums.report(step + 1, std::chrono::duration<double>(Clock::now() - last_report).count()));
      sums = {};
      last_report = Clock::now();
    }
    if ((step + 1) % options.save_every == 0 || step + 1 == steps) {
      store_weights(graph, leaves);
      on_save(graph);
    }
  }
}

void train_language_model(Graph& graph, const std::vector<int32_t>& tokens, const LanguageTraining& options,
                          const std::function<void(const TrainingReport&)>& on_report,
                          const std::function<void(const Graph&)>& on_save) {
  BatchSampler sampler(tokens, options.length, options.seed);
  train_language_model(graph, [&](int64_t) { return LanguageBatch{sampler.next(options.batch), {}, {}}; }, options, on_report, on_save);
}

}  // namespace espalier
