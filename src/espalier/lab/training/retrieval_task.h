// Training a decoder to fetch what stands far back, on texts (retrieval_mix.h) whose length changes by stages.
#pragma once

#include <memory>
#include <vector>

#include "espalier/lab/training/retrieval_mix.h"
#include "espalier/lab/training/training_task.h"

namespace espalier {

struct RetrievalStage {
  int64_t length, batch, steps;
};

class RetrievalTask : public TrainingTask {
 public:
  RetrievalTask(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> tokens, std::vector<RetrievalStage> stages, uint64_t seed);

  int64_t batches_an_epoch() const override;  // the steps of all stages
  TrainingBatch batch(int64_t index, uint64_t order) override;
  at::Tensor loss(const Graph& graph, const at::Tensor& output, const TrainingBatch& batch) const override;
  // Of the tokens to fetch.
  std::pair<int64_t, int64_t> hits(const at::Tensor& output, const TrainingBatch& batch) const override;
  std::map<std::string, double> evaluate(const Graph&, const Observer*) override { return {}; }
  std::string unit() const override { return "tokens"; }

  double take_fetch_loss();  // the mean of the tokens to fetch, in nats, since it was last taken; 0: there were none

 private:
  const RetrievalStage& stage_of(int64_t index) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> tokens_;
  std::vector<RetrievalStage> stages_;
  uint64_t seed_, order_ = 0;
  std::unique_ptr<RetrievalMix> mix_;
  int64_t given_ = 0;
  at::Tensor fetch_;         // of the last batch
  mutable at::Tensor nats_;  // of its tokens
  mutable double fetch_nats_ = 0;
  mutable int64_t fetched_ = 0;
};

}  // namespace espalier
