// Masked language modelling (Devlin et al., 2019): some tokens of a text are hidden, and an encoder says which they were.
// Every sequence is a window of the text between the tokenizer's special tokens; of its other tokens a share is chosen,
// exactly and at least one: 80 % of them become the mask token, 10 % a random one, 10 % stay.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/io/tokenizer.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/training/text_batches.h"
#include "espalier/lab/training/training_task.h"

namespace espalier {

// A graph of token ids [n, tokens] → logits [n, tokens, vocabulary] in which every token sees all others.
struct MaskedLanguageShape {
  int64_t vocabulary = 0, positions = 0;
};
std::optional<MaskedLanguageShape> masked_language_shape(const Graph& graph);

class TokenMasking {
 public:
  // UserError: a share outside (0, 1), no mask token or one above the vocabulary. `where` names the model in errors.
  TokenMasking(std::shared_ptr<const Tokenizer> tokenizer, int64_t vocabulary, double share, const std::string& where);

  int64_t added() const;  // special tokens around each window
  // Windows int64 [n, tokens] → inputs and targets [n, tokens + added]; targets are -1 where nothing was chosen.
  TrainingBatch apply(const at::Tensor& windows, Rng& rng) const;
  void check_ids(const std::vector<int32_t>& tokens) const;  // UserError: one that the vocabulary does not have

 private:
  void choose(int64_t* inputs, int64_t* targets, int64_t count, Rng& rng) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  int64_t vocabulary_;
  double share_;
  std::string where_;
  int32_t mask_ = 0;
  std::vector<int32_t> ordinary_;  // ids that stand for text
};

constexpr double kMaskShare = 0.15;  // BERT's

// Of the tokens that the seed alone chooses in windows of a text; length counts the special tokens around each. `dense`
// is compared with on the same ones. 0 tokens: the text has nothing but special ones.
Quality masked_quality(const Graph& graph, const TokenMasking& masking, const std::vector<int32_t>& tokens, int64_t length, uint64_t seed,
                       const Graph* dense = nullptr, const Observer* observer = nullptr);

struct MaskedTextOptions {
  int64_t length = 128, batch = 16;  // length: with the special tokens
  double share = kMaskShare;
  uint64_t seed = 0;
};

class MaskedTextTask : public TrainingTask {
 public:
  // tokens, evaluation: without special tokens around them; evaluation may be empty. UserError: a graph of another kind, a
  // length outside its positions, a text that is too short, ids above the vocabulary.
  MaskedTextTask(const Graph& graph, std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> tokens, const MaskedTextOptions& options,
                 std::vector<int32_t> evaluation, const std::string& where);

  int64_t batches_an_epoch() const override { return batches_.batches_an_epoch(); }
  TrainingBatch batch(int64_t index, uint64_t order) override;
  at::Tensor loss(const Graph& graph, const at::Tensor& output, const TrainingBatch& batch) const override;
  std::pair<int64_t, int64_t> hits(const at::Tensor& output, const TrainingBatch& batch) const override;
  // {"masked_perplexity"} of masked_quality().
  std::map<std::string, double> evaluate(const Graph& graph, const Observer* observer = nullptr) override;
  std::string unit() const override { return "tokens"; }

 private:
  MaskedTextOptions options_;
  TokenMasking masking_;
  TextBatches batches_;
  std::vector<int32_t> evaluation_;
};

}  // namespace espalier
