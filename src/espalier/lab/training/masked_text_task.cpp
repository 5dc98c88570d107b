#include "espalier/lab/training/masked_text_task.h"

#include <algorithm>
#include <chrono>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/engine/text_quality.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr double kBecomeMask = 0.8, kBecomeRandom = 0.1;

MaskedLanguageShape shape_of(const Graph& graph, const std::string& where) {
  const auto shape = masked_language_shape(graph);
  if (!shape) throw UserError(where, "graph", "an encoder whose first output predicts hidden tokens", "another");
  return *shape;
}

const MaskedTextOptions& checked(const MaskedTextOptions& options, int64_t added, int64_t positions) {
  if (options.length <= added || options.length > positions)
    throw UserError("training", "length", fmt::format("more than the {} special tokens around a text, at most the model's {} positions", added, positions),
                    fmt::format("{}", options.length));
  return options;
}

// Where something was chosen, in [n · tokens].
at::Tensor places(const at::Tensor& targets) { return at::nonzero(targets.flatten() >= 0).flatten(); }

// Logits of the chosen tokens, and which they are.
std::pair<at::Tensor, at::Tensor> chosen(const at::Tensor& output, const at::Tensor& targets) {
  const at::Tensor at = places(targets);
  return {output.flatten(0, 1).index_select(0, at), targets.flatten().index_select(0, at)};
}

}  // namespace

std::optional<MaskedLanguageShape> masked_language_shape(const Graph& graph) {
  if (graph.inputs.size() != 1 || graph.outputs.empty()) return std::nullopt;
  MaskedLanguageShape found{0, INT64_MAX};
  for (const auto& node : graph.nodes) {
    const bool reads_ids = !node.inputs.empty() && node.inputs[0] == graph.inputs[0];
    if (node.op == "Embedding" && reads_ids) found.vocabulary = graph.parameter(node.params.at("weight")).shape().at(0);
    if (node.op == "PositionEmbedding") found.positions = std::min(found.positions, graph.parameter(node.params.at("weight")).shape().at(0) - node.integer_or("offset", 0));
    if (node.op == "Attention" && node.flag_or("causal", true)) return std::nullopt;
  }
  const Shape& output = graph.values[static_cast<size_t>(graph.outputs.front())].shape;
  if (found.vocabulary == 0 || output.size() != 3 || output.back() != found.vocabulary) return std::nullopt;
  return found;
}

TokenMasking::TokenMasking(std::shared_ptr<const Tokenizer> tokenizer, int64_t vocabulary, double share, const std::string& where)
    : tokenizer_(std::move(tokenizer)), vocabulary_(vocabulary), share_(share), where_(where) {
  if (!(share > 0 && share < 1)) throw UserError("training", "mask-share", "a share between 0 and 1", fmt::format("{}", share));
  const auto mask = tokenizer_->mask_id();
  if (!mask) throw UserError(where, "tokenizer", "a mask token (mask_token of tokenizer_config.json, or a special token [MASK] or <mask>)", "none");
  mask_ = *mask;
  check_ids({mask_});
  for (int32_t id = 0; id < std::min<int64_t>(vocabulary, tokenizer_->vocab_size()); ++id)
    if (!tokenizer_->is_special(id) && id != mask_ && tokenizer_->id_to_token(id)) ordinary_.push_back(id);
  if (ordinary_.empty()) throw UserError(where, "tokenizer", "tokens that are not special", "none");
}

int64_t TokenMasking::added() const { return std::ssize(tokenizer_->special_prefix()) + std::ssize(tokenizer_->special_suffix()); }

void TokenMasking::check_ids(const std::vector<int32_t>& tokens) const {
  for (const int32_t id : tokens)
    if (id >= vocabulary_) throw UserError(where_, "token id of the tokenizer", fmt::format("less than the vocabulary size {}", vocabulary_), fmt::format("{}", id));
}

TrainingBatch TokenMasking::apply(const at::Tensor& windows, Rng& rng) const {
  const int64_t rows = windows.size(0), tokens = windows.size(1) + added();
  const at::Tensor ids = windows.contiguous();
  at::Tensor inputs = at::empty({rows, tokens}, at::kLong), targets = at::full({rows, tokens}, -1, at::kLong);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t* const begin = inputs.data_ptr<int64_t>() + row * tokens;
    const int64_t* const text = ids.data_ptr<int64_t>() + row * windows.size(1);
    int64_t* to = std::copy(tokenizer_->special_prefix().begin(), tokenizer_->special_prefix().end(), begin);
    to = std::copy(text, text + windows.size(1), to);
    std::copy(tokenizer_->special_suffix().begin(), tokenizer_->special_suffix().end(), to);
    choose(begin, targets.data_ptr<int64_t>() + row * tokens, tokens, rng);
  }
  return {inputs, targets, {}, 1};
}

void TokenMasking::choose(int64_t* inputs, int64_t* targets, int64_t count, Rng& rng) const {
  std::vector<int64_t> candidates;
  for (int64_t i = 0; i < count; ++i)
    if (!tokenizer_->is_special(static_cast<int32_t>(inputs[i]))) candidates.push_back(i);
  if (candidates.empty()) return;
  const int64_t number = std::max<int64_t>(1, std::llround(share_ * static_cast<double>(candidates.size())));
  for (const int64_t pick : rng.sample(std::ssize(candidates), number)) {
    const int64_t i = candidates[static_cast<size_t>(pick)];
    targets[i] = inputs[i];
    const double fate = rng.uniform();
    if (fate < kBecomeMask) {
      inputs[i] = mask_;
    } else if (fate < kBecomeMask + kBecomeRandom) {
      inputs[i] = ordinary_[rng.below(ordinary_.size())];
    }
  }
}

Quality masked_quality(const Graph& graph, const TokenMasking& masking, const std::vector<int32_t>& tokens, int64_t length, uint64_t seed,
                       const Graph* dense, const Observer* observer) {
  at::NoGradGuard no_gradients;
  const auto start = std::chrono::steady_clock::now();
  Weights weights(graph);
  const Interpreter interpreter(graph, weights);
  std::optional<Weights> dense_weights;
  std::optional<Interpreter> dense_interpreter;
  if (dense) dense_interpreter.emplace(*dense, dense_weights.emplace(*dense));
  const int64_t within = std::max<int64_t>(2, length - masking.added());
  const auto windows = windows_of(tokens, within, within);
  Progress progress("evaluating", std::ssize(windows), "window");
  QualitySums sums;
  for (size_t i = 0; i < windows.size(); ++i) {
    Rng rng(seed, fmt::format("training/evaluation masks/{}", i));
    const TrainingBatch batch = masking.apply(token_tensor(windows[i]), rng);
    const auto [logits, wanted] = chosen(interpreter.forward(batch.inputs, observer), batch.targets);
    sums.score(i, logits, wanted);
    if (dense) sums.compare(logits, chosen(dense_interpreter->forward(batch.inputs), batch.targets).first);
    progress.advance(1);
  }
  Quality quality = sums.quality();
  quality.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return quality;
}

MaskedTextTask::MaskedTextTask(const Graph& graph, std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> tokens,
                               const MaskedTextOptions& options, std::vector<int32_t> evaluation, const std::string& where)
    : options_(options),
      masking_(std::move(tokenizer), shape_of(graph, where).vocabulary, options.share, where),
      batches_(std::move(tokens), checked(options, masking_.added(), shape_of(graph, where).positions).length - masking_.added(), options.batch, options.seed),
      evaluation_(std::move(evaluation)) {
  masking_.check_ids({static_cast<int32_t>(batches_.largest_id())});
  masking_.check_ids(evaluation_);
}

TrainingBatch MaskedTextTask::batch(int64_t index, uint64_t order) {
  Rng rng(options_.seed, fmt::format("training/masks/{}/{}", order, index));
  const at::Tensor windows = batches_.at(index, order);  // with the next token of each, which is not asked for
  return masking_.apply(windows.narrow(1, 0, windows.size(1) - 1), rng);
}

// The mean over the chosen tokens; 0 when there are none, in a text of nothing but special tokens.
at::Tensor MaskedTextTask::loss(const Graph&, const at::Tensor& output, const TrainingBatch& batch) const {
  const auto [logits, wanted] = chosen(output, batch.targets);
  return at::cross_entropy_loss(logits, wanted, {}, at::Reduction::Sum) / static_cast<double>(std::max<int64_t>(1, wanted.size(0)));
}

std::pair<int64_t, int64_t> MaskedTextTask::hits(const at::Tensor& output, const TrainingBatch& batch) const {
  const auto [logits, wanted] = chosen(output, batch.targets);
  return {(logits.argmax(-1) == wanted).sum().item<int64_t>(), wanted.size(0)};
}

std::map<std::string, double> MaskedTextTask::evaluate(const Graph& graph, const Observer* observer) {
  if (evaluation_.size() < 2) return {};
  const Quality quality = masked_quality(graph, masking_, evaluation_, options_.length, options_.seed, nullptr, observer);
  if (quality.tokens == 0) return {};
  return {{"masked_perplexity", quality.perplexity.value}};
}

}  // namespace espalier
