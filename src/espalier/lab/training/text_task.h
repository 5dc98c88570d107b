// Training a causal language model on a text.
#pragma once

#include <memory>
#include <vector>

#include "espalier/lab/measure/quality.h"
#include "espalier/lab/training/text_batches.h"
#include "espalier/lab/training/training_task.h"

namespace espalier {

class TextTask : public TrainingTask {
 public:
  // evaluation: windows of `length` tokens whose perplexity is measured; empty: none. teacher: its distribution is the
  // target instead of the next token. UserError: ids above the vocabulary, a text that is too short.
  TextTask(const Graph& graph, std::vector<int32_t> tokens, int64_t length, int64_t batch, uint64_t seed, TokenSequences evaluation = {},
           const Graph* teacher = nullptr);
  ~TextTask() override;

  int64_t batches_an_epoch() const override { return batches_.batches_an_epoch(); }
  TrainingBatch batch(int64_t index, uint64_t order) override;
  at::Tensor loss(const Graph& graph, const at::Tensor& output, const TrainingBatch& batch) const override;
  std::pair<int64_t, int64_t> hits(const at::Tensor&, const TrainingBatch&) const override { return {0, 0}; }
  std::map<std::string, double> evaluate(const Graph& graph, const Observer* observer = nullptr) override;
  std::string unit() const override { return "tokens"; }

 private:
  class Teacher;
  int64_t length_;
  TextBatches batches_;
  TokenSequences evaluation_;
  std::unique_ptr<Teacher> teacher_;
};

}  // namespace espalier
