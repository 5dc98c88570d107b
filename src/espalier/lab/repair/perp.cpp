#include "espalier/lab/repair/perp.h"

#include <torch/optim/adamw.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "espalier/core/choice.h"
#include "espalier/core/log.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/measure/class_scores.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/picture_batches.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, PerpPart> kParts[] = {{"bias", PerpPart::kBias},   {"norm", PerpPart::kNorm}, {"head", PerpPart::kHead},
                                                       {"embed", PerpPart::kEmbed}, {"lora", PerpPart::kLora}, {"full", PerpPart::kFull}};
constexpr std::pair<const char*, bool> kModes[] = {{"retrain", false}, {"reconstruct", true}};
constexpr int64_t kRetrainSteps = 1000, kReconstructSteps = 200;
constexpr double kScaleLoraRate = 1e-4;
const std::vector<std::string> kNames = {"train", "lora", "rank", "alpha", "mode", "steps", "lr", "warmup", "batch", "accumulation", "length"};

std::string text_or(const RepairSettings& given, const std::string& name, const std::string& otherwise) {
  const auto found = given.find(name);
  return found == given.end() ? otherwise : found->second;
}

std::set<PerpPart> parts_of(const std::string& list) {
  std::set<PerpPart> parts;
  for (size_t start = 0; start <= list.size();) {
    const size_t end = std::min(list.find(',', start), list.size());
    parts.insert(choice_from_name("option repair.train", list.substr(start, end - start), kParts));
    start = end + 1;
  }
  if (parts.count(PerpPart::kFull) && parts.size() > 1)
    throw UserError("repair", "option repair.train", "full alone, because it holds all others", "'" + printable(list) + "'");
  return parts;
}

// The Linear that makes the logits, when there is one behind the blocks.
const Node* head_of(const Graph& graph) {
  for (size_t n = graph.nodes.size(); n-- > 0;)
    if (is_matrix_layer(graph.nodes[n])) return graph.nodes[n].op == "Linear" ? &graph.nodes[n] : nullptr;
  return nullptr;
}

bool is_tied(const Graph& graph, const std::string& parameter) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(),
                     [&](const Node& node) { return node.op == "Embedding" && node.params.at("weight") == parameter; });
}

double rate_at(const PerpOptions& options, int64_t step) {
  const double warmup = options.warmup * static_cast<double>(options.steps);
  if (static_cast<double>(step) < warmup) return options.rate * static_cast<double>(step + 1) / std::max(1.0, warmup);
  return options.rate * static_cast<double>(options.steps - step) / std::max(1.0, static_cast<double>(options.steps) - warmup);
}

// AdamW without weight decay; loss_of draws a batch.
uint64_t minimise(const PerpWeights& trained, Weights& weights, const PerpOptions& options, const std::function<at::Tensor()>& loss_of,
                  const std::function<void()>& on_step) {
  std::vector<at::Tensor> leaves;
  for (const auto& [name, leaf] : trained.leaves()) leaves.push_back(leaf);
  torch::optim::AdamW optimiser(leaves, torch::optim::AdamWOptions(options.rate).weight_decay(0));
  for (int64_t step = 0; step < options.steps; ++step) {
    check_interrupted();
    for (auto& group : optimiser.param_groups()) group.options().set_lr(rate_at(options, step));
    optimiser.zero_grad();
    for (int64_t part = 0; part < options.accumulation; ++part) {
      trained.install(weights);
      const at::Tensor loss = loss_of() / static_cast<double>(options.accumulation);
      if (!at::isfinite(loss).item<bool>()) user_error("repair: the loss is not finite at step {}", step);
      loss.backward();
    }
    optimiser.step();
    trained.mask();
    on_step();
  }
  uint64_t bytes = 0;
  for (const auto& [leaf, state] : optimiser.state()) {
    const auto& moments = static_cast<const torch::optim::AdamWParamState&>(*state);
    bytes += moments.exp_avg().nbytes() + moments.exp_avg_sq().nbytes();
  }
  return bytes;
}

std::map<std::string, at::Tensor> masks_of(const PruneJob& job) {
  std::map<std::string, at::Tensor> masks;
  for (const auto& [name, mask] : job.masks()) masks[name] = bool_mask(mask);
  return masks;
}

void store_values(Graph& graph, const std::map<std::string, at::Tensor>& values) {
  for (const auto& [name, value] : values) {
    Parameter& parameter = graph.parameter(name);
    parameter.assign(from_torch(value, parameter.dtype()));
  }
}

Json report(const PerpCounts& counts, uint64_t optimiser_bytes) {
  return {{"trained", counts.trained()},
          {"share", static_cast<double>(counts.trained()) / static_cast<double>(counts.total)},
          {"bias", counts.bias}, {"norm", counts.norm}, {"head", counts.head}, {"embed", counts.embed}, {"lora", counts.lora}, {"full", counts.full},
          {"optimiser_bytes", optimiser_bytes}};
}

void tell(const PerpCounts& counts) {
  inform("repair: {} of {} parameters are trained ({:.2f} %)", counts.trained(), counts.total,
         100 * static_cast<double>(counts.trained()) / static_cast<double>(counts.total));
}

int64_t length_of(const PruneJob& job, const PerpOptions& options) {
  return options.length ? options.length : std::min<int64_t>(job.model().context_length, 512);
}

at::Tensor text_loss(const Interpreter& interpreter, const TokenSequences& windows, const PerpOptions& options, Rng& rng) {
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < options.batch; ++i) rows.push_back(token_tensor(windows[rng.below(windows.size())]));
  const at::Tensor ids = at::cat(rows, 0);
  const at::Tensor logits = interpreter.forward(ids.narrow(1, 0, ids.size(1) - 1)).flatten(0, 1);
  return at::cross_entropy_loss(logits, ids.narrow(1, 1, ids.size(1) - 1).flatten());
}

// Batch norms go by the batch, and their running statistics follow: copies of the weights', stored at the end.
std::map<std::string, at::Tensor> own_statistics(const Graph& graph, Weights& weights) {
  std::map<std::string, at::Tensor> statistics;
  for (const auto& name : statistics_of(graph)) {
    statistics[name] = weights.get(name).clone();
    weights.set(name, statistics[name]);
  }
  return statistics;
}

void retrain(PruneJob& job, const PerpOptions& options) {
  constexpr double kBatchMomentum = 0.1;
  PerpWeights trained(job.graph(), masks_of(job), options, job.settings().seed);
  tell(trained.counts());
  Weights weights(job.graph());
  Interpreter interpreter(job.graph(), weights);
  const auto statistics = own_statistics(job.graph(), weights);
  std::function<at::Tensor()> loss;
  std::unique_ptr<PictureBatches> pictures;
  TokenSequences windows;
  Rng rng = job.rng("repair/batches");
  if (job.model().task == Task::kText) {
    windows = job.windows(INT32_MAX, length_of(job, options));
    loss = [&] { return text_loss(interpreter, windows, options, rng); };
  } else {
    interpreter.train_batch_norms(kBatchMomentum);
    pictures = std::make_unique<PictureBatches>(job.images(), std::span<const int64_t>(), job.model().image, options.batch, PictureAugmentation{}, job.settings().seed);
    loss = [&] {
      const LabelledImages images = pictures->next();
      const at::Tensor scores = class_log_probabilities(job.graph(), interpreter.forward(images.pixels), images.labels.size(0));
      return -scores.gather(1, images.labels.unsqueeze(1)).mean();
    };
  }
  Progress progress("repair", options.steps, "step");
  const uint64_t bytes = minimise(trained, weights, options, loss, [&] { progress.advance(1); });
  store_values(job.graph(), trained.merged());
  store_values(job.graph(), statistics);
  job.findings()["repair"] = report(trained.counts(), bytes);
}

// One block of the pruned model against the same of the dense one, both fed what the repaired blocks before it give.
class BlockRepair {
 public:
  BlockRepair(PruneJob& job, const Graph& dense, const PerpOptions& options)
      : job_(job), options_(options), masks_(masks_of(job)), weights_(job.graph()), interpreter_(job.graph(), weights_), dense_weights_(dense),
        dense_(dense, dense_weights_), rng_(job.rng("repair/batches")) {}

  // Trains the next block of the stream; a block that did not come closer stays as it was.
  Json repair(const BlockStream& stream, const std::function<void()>& on_step) {
    const int block = stream.next_block();
    weights_.release_all();
    dense_weights_.release_all();
    PerpWeights trained(job_.graph(), masks_, options_, job_.settings().seed, block);
    const double before = error(stream, block);
    const auto draw = [&] { return error_on(stream.hidden()[rng_.below(stream.batch_count())], block); };
    const uint64_t bytes = minimise(trained, weights_, options_, draw, on_step);
    const auto merged = trained.merged();
    for (const auto& [name, value] : merged) weights_.set(name, value);
    const double after = error(stream, block);
    if (after <= before) store_values(job_.graph(), merged);
    counts_.bias += trained.counts().bias, counts_.norm += trained.counts().norm, counts_.lora += trained.counts().lora, counts_.full += trained.counts().full;
    counts_.total = trained.counts().total;
    bytes_ = std::max(bytes_, bytes);
    return {{"block", block}, {"before", before}, {"after", std::min(before, after)}};
  }

  Json summary() const { return report(counts_, bytes_); }

 private:
  static at::Tensor run(const Interpreter& interpreter, const at::Tensor& x, int block) {
    const auto [first, last] = interpreter.block_range(block);
    Environment values{{interpreter.block_input(block), x}};
    interpreter.run(values, first, last);
    ESP_ASSERT(values.size() == 1, "block {} leaves {} values", block, values.size());
    return values.begin()->second;
  }

  at::Tensor error_on(const at::Tensor& x, int block) const {
    at::Tensor target;
    {
      at::NoGradGuard no_gradients;
      target = run(dense_, x, block);
    }
    return reconstruction_error(run(interpreter_, x, block), target);
  }

  double error(const BlockStream& stream, int block) const {
    at::NoGradGuard no_gradients;
    double sum = 0;
    for (const auto& x : stream.hidden()) sum += error_on(x, block).item<double>();
    return sum;
  }

  PruneJob& job_;
  const PerpOptions& options_;
  std::map<std::string, at::Tensor> masks_;
  Weights weights_;
  Interpreter interpreter_;
  Weights dense_weights_;
  Interpreter dense_;
  Rng rng_;
  PerpCounts counts_;
  uint64_t bytes_ = 0;
};

void reconstruct(PruneJob& job, const PerpOptions& options) {
  const Model dense = job.open_dense();
  const int blocks = job.graph().block_count;
  if (dense.graph.block_count != blocks)
    throw UserError("--repair perp", "blocks", fmt::format("the {} of the dense model; mode=retrain takes any number", dense.graph.block_count), fmt::format("{}", blocks));
  const TokenSequences windows = options.length ? job.windows(job.source().samples, options.length) : job.windows();
  BlockStream stream(job.graph(), windows, options.batch * static_cast<int64_t>(windows.front().size()));
  BlockRepair repair(job, dense.graph, options);
  Progress progress("repair", blocks * options.steps, "step");
  Json errors = Json::array();
  for (int block = 0; block < blocks; ++block) {
    errors.push_back(repair.repair(stream, [&] { progress.advance(1); }));
    at::NoGradGuard no_gradients;
    stream.forget_weights();
    stream.advance();
  }
  job.findings()["repair"] = repair.summary();
  job.findings()["repair"]["blocks"] = errors;
}

}  // namespace

PerpOptions perp_options(const RepairSettings& given) {
  require_known(given, kNames);
  PerpOptions options;
  if (const auto train = given.find("train"); train != given.end()) options.train = parts_of(train->second), options.train_given = true;
  options.form = low_rank_form("option repair.lora", text_or(given, "lora", "mask_lora"));
  options.reconstruct = choice_from_name("option repair.mode", text_or(given, "mode", "retrain"), kModes);
  options.steps = options.reconstruct ? kReconstructSteps : kRetrainSteps;
  if (options.form == LowRankForm::kScaleLora) options.rate = kScaleLoraRate;
  for (auto [name, value] : {std::pair("rank", &options.rank), {"steps", &options.steps}, {"batch", &options.batch}, {"accumulation", &options.accumulation}, {"length", &options.length}})
    read_positive(given, name, *value);
  read_positive(given, "alpha", options.alpha);
  read_positive(given, "lr", options.rate);
  read_from_zero(given, "warmup", options.warmup);
  if (options.warmup > 1) throw UserError("repair", "option repair.warmup", "a share of the steps, at most 1", fmt::format("{}", options.warmup));
  return options;
}

PerpOptions lora_options(const RepairSettings& given) {
  require_known(given, {"steps", "rank", "batch", "length", "lr", "alpha"});
  PerpOptions options;
  options.train = {PerpPart::kLora};
  options.rank = 8, options.alpha = 16, options.batch = 8, options.steps = 200, options.rate = 3e-4, options.warmup = 0;
  for (auto [name, value] : {std::pair("rank", &options.rank), {"steps", &options.steps}, {"batch", &options.batch}, {"length", &options.length}})
    read_positive(given, name, *value);
  read_positive(given, "alpha", options.alpha);
  read_positive(given, "lr", options.rate);
  return options;
}

RepairSettings perp_defaults() {
  const PerpOptions options;
  return {{"lora", name_of(options.form)},
          {"rank", fmt::format("{}", options.rank)},
          {"alpha", fmt::format("{}", options.alpha)},
          {"mode", "retrain"},
          {"batch", fmt::format("{}", options.batch)},
          {"accumulation", fmt::format("{}", options.accumulation)},
          {"warmup", fmt::format("{}", options.warmup)}};
}

RepairSettings lora_defaults() {
  const PerpOptions options = lora_options({});
  return {{"steps", fmt::format("{}", options.steps)},
          {"batch", fmt::format("{}", options.batch)},
          {"lr", fmt::format("{}", options.rate)},
          {"rank", fmt::format("{}", options.rank)},
          {"alpha", fmt::format("{}", options.alpha)}};
}

PerpCounts decoder_counts(int64_t layers, int64_t hidden, int64_t ffn, int64_t vocab, int64_t rank) {
  PerpCounts counts;
  counts.bias = layers * (4 * hidden + ffn + hidden);
  counts.norm = (2 * layers + 1) * 2 * hidden;
  counts.lora = layers * rank * (4 * (hidden + hidden) + 2 * (hidden + ffn));
  counts.head = rank * (hidden + vocab);
  counts.total = vocab * hidden + layers * (4 * hidden * hidden + 2 * hidden * ffn) + counts.bias + counts.norm;
  return counts;
}

at::Tensor reconstruction_error(const at::Tensor& output, const at::Tensor& target) { return at::mse_loss(output, target); }

PerpWeights::PerpWeights(const Graph& graph, const std::map<std::string, at::Tensor>& keep, const PerpOptions& options, uint64_t seed, std::optional<int> block)
    : keep_(keep) {
  counts_.total = graph.parameter_count();
  const auto wants = [&](PerpPart part) { return options.train.count(part) > 0; };
  const auto statistics = statistics_of(graph);
  const bool in_blocks = graph.block_count > 0;
  const Node* head = head_of(graph);
  for (const auto& node : graph.nodes) {
    if (block && node.block != *block) continue;
    for (const auto& [role, name] : node.params) {
      const Parameter& parameter = graph.parameter(name);
      if (statistics.count(name) || role == "mask" || leaves_.count(name) || adapted_.count(name) || (node.op == "Constant" && parameter.count() == 1)) continue;
      const bool matrix = is_matrix_layer(node) && role == "weight";
      if (wants(PerpPart::kFull)) {
        add_plain(parameter, counts_.full);
      } else if (is_norm(node)) {
        if (wants(PerpPart::kNorm)) add_plain(parameter, counts_.norm);
      } else if (role == "bias") {
        if (wants(PerpPart::kBias)) add_plain(parameter, counts_.bias);
      } else if (node.op == "Embedding") {
        if (wants(PerpPart::kEmbed)) add_plain(parameter, counts_.embed);
      } else if (matrix && wants(PerpPart::kLora) && &node != head && (!in_blocks || (node.block >= 0 && node.block < graph.block_count))) {
        add_adapter(node, parameter, options.form, options, seed, counts_.lora);
      }
    }
  }
  if (wants(PerpPart::kHead) && !block && head) add_head(graph, options, seed);
  if (leaves_.empty()) user_error("repair: this model has nothing of what was asked to train");
  if (reduced_ > 0) warn("repair: rank {} is more than {} layers have inputs or outputs; those take all they have", options.rank, reduced_);
}

void PerpWeights::add_plain(const Parameter& parameter, int64_t& count) {
  at::Tensor leaf = to_torch(parameter.load()).detach().clone();
  if (!leaf.is_floating_point()) return;
  leaves_[parameter.name()] = leaf.set_requires_grad(true);
  plain_.insert(parameter.name());
  count += parameter.count();
}

void PerpWeights::add_adapter(const Node& node, const Parameter& parameter, LowRankForm form, const PerpOptions& options, uint64_t seed, int64_t& count) {
  const std::string& name = parameter.name();
  const bool transposed = node.op == "ConvTranspose" || node.flag_or("transposed", false);
  const auto matrix = [&](const at::Tensor& value) {
    const at::Tensor flat = value.flatten(1);
    return transposed ? flat.t().contiguous() : flat;
  };
  at::Tensor keep;
  if (const auto mask = keep_.find(name); mask != keep_.end()) {
    if (!mask->second.any().item<bool>()) return;
    keep = matrix(mask->second);
    if (form == LowRankForm::kLora && !keep.all().item<bool>())
      throw UserError("repair", "option repair.lora", "a form that merges into sparse weights: mask_lora, scale_lora or lora_prune", "lora, and " + name + " has removed weights");
  }
  const at::Tensor base = to_torch(parameter.load());
  Adapted adapted{make_low_rank(form, matrix(base), keep, options.rank, options.alpha, Rng(seed, "repair/adapters/" + name)), transposed, base.sizes().vec()};
  leaves_[name + ".lora_A"] = adapted.adapter.a;
  leaves_[name + ".lora_B"] = adapted.adapter.b;
  count += adapted.adapter.a.numel() + adapted.adapter.b.numel();
  if (adapted.adapter.a.size(0) < options.rank) ++reduced_;
  adapted_[name] = std::move(adapted);
}

// The head is dense as a rule, so plain adapters merge; a classifier's is so small that it is trained as a whole.
void PerpWeights::add_head(const Graph& graph, const PerpOptions& options, uint64_t seed) {
  const Node& head = *head_of(graph);
  const Parameter& parameter = graph.parameter_of(head, "weight");
  if (is_tied(graph, parameter.name())) {
    if (options.train_given && !options.train.count(PerpPart::kEmbed))
      throw UserError("repair", "option repair.train", "no head: it shares its weight with the embedding, which would change, too", "head");
    return;
  }
  if (graph.block_count == 0) return add_plain(parameter, counts_.head);
  add_adapter(head, parameter, keep_.count(parameter.name()) ? LowRankForm::kMaskLora : LowRankForm::kLora, options, seed, counts_.head);
}

at::Tensor PerpWeights::stored(const Adapted& adapted, const at::Tensor& weight) {
  return (adapted.transposed ? weight.t() : weight).reshape(adapted.shape);
}

void PerpWeights::train_instead(const std::string& leaf, const at::Tensor& other) {
  leaves_.at(leaf) = other;
  const auto of = [&](const char* suffix) { return leaf.ends_with(suffix) ? adapted_.find(leaf.substr(0, leaf.size() - std::string(suffix).size())) : adapted_.end(); };
  if (const auto found = of(".lora_A"); found != adapted_.end()) found->second.adapter.a = other;
  if (const auto found = of(".lora_B"); found != adapted_.end()) found->second.adapter.b = other;
}

void PerpWeights::install(Weights& weights) const {
  for (const auto& name : plain_) weights.set(name, leaves_.at(name));
  for (const auto& [name, adapted] : adapted_) weights.set(name, stored(adapted, trained_weight(adapted.adapter)));
}

void PerpWeights::mask() const {
  at::NoGradGuard no_gradients;
  for (const auto& name : plain_)
    if (const auto keep = keep_.find(name); keep != keep_.end()) leaves_.at(name).mul_(keep->second);
}

std::map<std::string, at::Tensor> PerpWeights::merged() const {
  std::map<std::string, at::Tensor> values;
  for (const auto& name : plain_) values[name] = leaves_.at(name).detach();
  for (const auto& [name, adapted] : adapted_) values[name] = stored(adapted, merged_weight(adapted.adapter)).contiguous();
  return values;
}

void check_perp_job(const PruneJob& job, const PerpOptions& options) {
  if (job.model().task == Task::kOther) user_error("--repair perp: {} is neither a language model nor a classifier of pictures", job.model().path.string());
  if (job.model().task != Task::kText && options.reconstruct) user_error("--repair perp: mode=reconstruct is for language models");
  if (job.model().task == Task::kImages && !job.has_images())
    user_error("--repair perp needs pictures (--calib: a CIFAR or IDX file, or a folder of images)");
}

void repair_by_perp(PruneJob& job, const PerpOptions& options) {
  at::AutoGradMode with_gradients(true);
  if (options.reconstruct) return reconstruct(job, options);
  retrain(job, options);
}

}  // namespace espalier
