#include "espalier/lab/methods/policies/s2_arms.h"

#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/core/scratch_directory.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_model.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {
namespace {

constexpr int64_t kVocabulary = 256;

// Random tokens, and the same again. Only the copy counts, from its second token on: the first one says where it began.
class CopyTask : public TrainingTask {
 public:
  CopyTask(const CopyBudget& budget, uint64_t seed, const char* stream) : budget_(budget), seed_(seed), stream_(stream) {}

  int64_t batches_an_epoch() const override { return budget_.steps; }
  std::map<std::string, double> evaluate(const Graph&, const Observer*) override { return {}; }
  std::string unit() const override { return "tokens"; }

  TrainingBatch batch(int64_t index, uint64_t order) override {
    Rng rng(seed_, fmt::format("{}/{}/{}", stream_, order, index));
    const int64_t half = budget_.length / 2;
    at::Tensor first = at::empty({budget_.batch, half}, at::kLong);
    auto* token = first.data_ptr<int64_t>();
    for (int64_t i = 0; i < first.numel(); ++i) token[i] = static_cast<int64_t>(rng.below(kVocabulary));
    const at::Tensor ids = at::cat({first, first}, 1), targets = ids.narrow(1, 1, 2 * half - 1);
    at::Tensor weights = at::zeros(targets.sizes());
    weights.narrow(1, half, half - 1).fill_(1.0 / static_cast<double>(budget_.batch * (half - 1)));
    return {ids.narrow(1, 0, 2 * half - 1), targets, {}, 1, weights};
  }

  at::Tensor loss(const Graph&, const at::Tensor& output, const TrainingBatch& batch) const override { return (nats(output, batch) * batch.weights).sum(); }

  std::pair<int64_t, int64_t> hits(const at::Tensor& output, const TrainingBatch& batch) const override {
    const at::Tensor counts = batch.weights > 0;
    return {output.argmax(-1).eq(batch.targets).logical_and(counts).sum().item<int64_t>(), counts.sum().item<int64_t>()};
  }

  // Of each token, in the shape of the targets.
  static at::Tensor nats(const at::Tensor& output, const TrainingBatch& batch) {
    return at::cross_entropy_loss(output.flatten(0, 1), batch.targets.flatten(), {}, at::Reduction::None).view_as(batch.targets);
  }

 private:
  CopyBudget budget_;
  uint64_t seed_;
  const char* stream_;
};

TrainOptions train_options(const CopyBudget& budget, uint64_t seed) {
  TrainOptions options;
  options.steps = budget.steps;
  options.optimiser = OptimiserKind::kAdamW;
  options.learning_rate = budget.learning_rate;
  options.warmup = budget.steps / 25;
  options.final_ratio = 0.05;
  options.weight_decay = 0.1;
  options.beta2 = 0.95;
  options.clip = 1;
  options.seed = seed;
  options.evaluate_every = 0;
  options.report_every = budget.steps;
  return options;
}

}  // namespace

CopyArm train_to_copy(const std::map<std::string, std::string>& pattern, const CopyBudget& budget, uint64_t seed) {
  ESP_ASSERT(budget.length >= 4 && budget.length % 2 == 0);
  const ScratchDirectory directory;
  const LlamaShape shape{.vocab = kVocabulary, .hidden = 64, .layers = 2, .heads = 4, .kv_heads = 4, .ffn = 128, .context = budget.length, .deviation = 0.125};
  write_fresh_llama(shape, seed, directory.path());
  Model model = load_model(directory.path());
  const TrainOptions options = train_options(budget, seed);
  Plugins plugins;
  if (!pattern.empty()) plugins.push_back(make_plugin("36-s2-attention", pattern, std::nullopt, model, options, budget.steps, budget.steps));
  CopyTask task(budget, seed, "copy");
  train(model.graph, task, options, plugins);

  CopyBudget held_out = budget;
  held_out.batch = budget.held_out;
  CopyTask measured(held_out, seed, "copy/held out");
  const TrainingBatch texts = measured.batch(0, 0);
  const at::NoGradGuard no_gradients;
  Weights weights(model.graph);
  const at::Tensor output = Interpreter(model.graph, weights).forward(texts.inputs, plugins.empty() ? nullptr : plugins[0]->lasting_observer());
  const at::Tensor rows = (CopyTask::nats(output, texts) * texts.weights).sum(1) / texts.weights.sum(1);
  CopyArm arm;
  arm.nats.assign(rows.data_ptr<float>(), rows.data_ptr<float>() + rows.numel());
  const auto [right, copied] = measured.hits(output, texts);
  arm.right = static_cast<double>(right) / static_cast<double>(copied);
  if (plugins.empty()) return arm;
  const auto seen = plugins[0]->findings().at("seen_pairs").get<std::vector<double>>();
  arm.seen = 0;
  for (const double share : seen) arm.seen += share / static_cast<double>(seen.size());
  return arm;
}

}  // namespace espalier
