#include "espalier/engine/generation.h"

#include <algorithm>
#include <utility>

namespace espalier {

Scheduler::Generation::Generation(GenerationRequest request, GenerationListener listener, std::shared_ptr<const Tokenizer> tokenizer,
                                  std::shared_ptr<AttentionSequence> sequence, uint64_t bytes)
    : request_(std::move(request)), listener_(std::move(listener)), tokenizer_(std::move(tokenizer)), sequence_(std::move(sequence)),
      bytes_(bytes), sampler_(request_.sampling, request_.seed), stream_(tokenizer_), stop_(request_.stop),
      start_(std::chrono::steady_clock::now()) {}

double Scheduler::Generation::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Scheduler::Generation::join(int64_t vocab_size) {
  if (!logits_.empty()) return;
  queued_seconds_ = seconds();
  logits_.resize(static_cast<size_t>(vocab_size));
  for (const int32_t id : request_.prompt) sampler_.saw(id);
}

int64_t Scheduler::Generation::next_rows(int64_t chunk) const {
  return decodes() ? 1 : std::min(chunk, static_cast<int64_t>(request_.prompt.size()) - fed_);
}

ForwardWork Scheduler::Generation::work(int64_t chunk) {
  feeding_ = next_rows(chunk);
  if (decodes()) return {sequence_.get(), {&next_, 1}, logits_.data(), false};
  const auto tokens = std::span<const int32_t>(request_.prompt).subspan(static_cast<size_t>(fed_), static_cast<size_t>(feeding_));
  const bool last = fed_ + feeding_ == static_cast<int64_t>(request_.prompt.size());
  return {sequence_.get(), tokens, last ? logits_.data() : nullptr, false};
}

int Scheduler::Generation::settle() {
  fed_ += feeding_;
  if (!decodes()) return 0;
  take(sampler_.choose(logits_));
  return 1;
}

void Scheduler::Generation::take(int32_t id) {
  if (++made_ == 1) first_token_seconds_ = seconds();
  sampler_.saw(id);
  next_ = id;
  const auto& ends = tokenizer_->stop_ids();
  if (!request_.ignore_stop_ids && std::find(ends.begin(), ends.end(), id) != ends.end()) return finish(FinishReason::kStop);
  emit(stop_.push(stream_.push(id)));
  if (stop_.stopped()) return finish(FinishReason::kStop);
  if (made_ >= request_.max_tokens) finish(FinishReason::kLength);
}

void Scheduler::Generation::emit(const std::string& piece) {
  if (!piece.empty() && listener_.on_text) listener_.on_text(piece);
}

void Scheduler::Generation::finish(FinishReason reason, const std::string& error) {
  if (reason == FinishReason::kStop || reason == FinishReason::kLength) {
    emit(stop_.push(stream_.finish()));
    if (stop_.stopped()) reason = FinishReason::kStop;  // a stop string at the very end
    emit(stop_.finish());
  }
  end_ = GenerationEnd{reason, error, static_cast<int64_t>(request_.prompt.size()), made_, queued_seconds_, first_token_seconds_, seconds()};
}

void Scheduler::Generation::report() {
  sequence_.reset();
  std::vector<float>().swap(logits_);
  const GenerationListener listener = std::exchange(listener_, {});  // what it holds goes, too
  if (listener.on_end) listener.on_end(*end_);
}

}  // namespace espalier
