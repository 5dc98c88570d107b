#include "espalier/lab/training/retrieval_task.h"

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {

RetrievalTask::RetrievalTask(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> tokens, std::vector<RetrievalStage> stages, uint64_t seed)
    : tokenizer_(std::move(tokenizer)), tokens_(std::move(tokens)), stages_(std::move(stages)), seed_(seed) {
  ESP_ASSERT(!stages_.empty());
}

int64_t RetrievalTask::batches_an_epoch() const {
  int64_t steps = 0;
  for (const auto& stage : stages_) steps += stage.steps;
  return steps;
}

const RetrievalStage& RetrievalTask::stage_of(int64_t index) const {
  for (const auto& stage : stages_) {
    if (index < stage.steps) return stage;
    index -= stage.steps;
  }
  return stages_.back();
}

TrainingBatch RetrievalTask::batch(int64_t index, uint64_t order) {
  if (!mix_ || order != order_ || index < given_) {
    mix_ = std::make_unique<RetrievalMix>(tokenizer_, tokens_, seed_ + order);
    order_ = order;
    given_ = 0;
  }
  RetrievalBatch made;
  for (; given_ <= index; ++given_) {
    const RetrievalStage& stage = stage_of(given_);
    made = mix_->next(stage.batch, stage.length);
  }
  fetch_ = made.fetch;
  const int64_t length = made.ids.size(1) - 1;
  return {made.ids.narrow(1, 0, length), made.ids.narrow(1, 1, length), {}, 1, made.weights};
}

at::Tensor RetrievalTask::loss(const Graph&, const at::Tensor& output, const TrainingBatch& batch) const {
  const at::Tensor nats = at::cross_entropy_loss(output.flatten(0, 1), batch.targets.flatten(), {}, at::Reduction::None);
  nats_ = nats.detach();
  return (nats * batch.weights.flatten()).sum();
}

std::pair<int64_t, int64_t> RetrievalTask::hits(const at::Tensor& output, const TrainingBatch& batch) const {
  ESP_ASSERT(fetch_.sizes() == batch.targets.sizes(), "of another batch");
  const at::Tensor fetch = fetch_.flatten();
  const int64_t count = fetch.sum().item<int64_t>();
  fetch_nats_ += nats_.masked_select(fetch).sum().item<double>();
  fetched_ += count;
  const at::Tensor right = output.flatten(0, 1).argmax(-1).eq(batch.targets.flatten()).logical_and(fetch);
  return {right.sum().item<int64_t>(), count};
}

double RetrievalTask::take_fetch_loss() {
  const double mean = fetched_ == 0 ? 0 : fetch_nats_ / static_cast<double>(fetched_);
  fetch_nats_ = 0;
  fetched_ = 0;
  return mean;
}

}  // namespace espalier
