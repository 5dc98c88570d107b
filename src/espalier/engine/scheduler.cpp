#include "espalier/engine/scheduler.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include "espalier/core/error.h"
#include "espalier/engine/attention/kv_cache.h"
#include "espalier/engine/generation.h"

namespace espalier {
namespace {

void check_prompt(const GenerationRequest& request, const SchedulerBackend& backend) {
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) user_error("prompt: it has no tokens");
  if (length >= backend.context_length)
    throw UserError("prompt", "tokens", fmt::format("fewer than the model's context {}", backend.context_length), fmt::format("{}", length));
  for (const int32_t id : request.prompt)
    if (id < 0 || id >= backend.vocab_size) throw UserError("prompt", "token", fmt::format("0 to {}", backend.vocab_size - 1), fmt::format("{}", id));
  if (request.max_tokens < 1) throw UserError("max_tokens", "", "at least 1", fmt::format("{}", request.max_tokens));
}

// Whole pages, and one more for each head, since appends may begin amid a page.
uint64_t bytes_for(const PagedKvCache& cache, int64_t tokens) {
  uint64_t bytes = 0;
  for (int64_t layer = 0; layer < cache.layers(); ++layer) {
    const KvLayout& layout = cache.layout(layer);
    bytes += static_cast<uint64_t>(cache.kv_heads(layer) * (tokens / layout.tokens + 1)) * layout.page_bytes;
  }
  return bytes;
}

}  // namespace

SchedulerBackend backend_of(Decoder& decoder) {
  return {[&decoder](const AttentionRequest& request, int64_t capacity) -> std::shared_ptr<AttentionSequence> {
            return decoder.start(request, capacity);
          },
          [&decoder](std::span<const ForwardWork> work) { decoder.forward(work); },
          [](const AttentionSequence& sequence, int64_t tokens) { return bytes_for(sequence.cache(), tokens); },
          [](const AttentionSequence& sequence) { return sequence.cache_bytes(); },
          decoder.vocab_size(),
          decoder.context_length(),
          Decoder::kRowsAlike};
}

Scheduler::Scheduler(SchedulerBackend backend, std::shared_ptr<const Tokenizer> tokenizer, const SchedulerOptions& options)
    : backend_(std::move(backend)), tokenizer_(std::move(tokenizer)), options_(options), thread_([this] { work(); }) {}

Scheduler::~Scheduler() {
  close(0);
  thread_.join();
}

Scheduler::GenerationPtr Scheduler::submit(GenerationRequest request, GenerationListener listener) {
  check_prompt(request, backend_);
  const auto length = static_cast<int64_t>(request.prompt.size());
  request.max_tokens = std::min(request.max_tokens, backend_.context_length - length);
  const int64_t capacity = length + request.max_tokens;
  auto sequence = backend_.start(request.attention, capacity);
  const uint64_t bytes = backend_.bytes_for(*sequence, capacity);
  if (options_.cache_bytes > 0 && bytes > options_.cache_bytes)
    throw UserError("prompt", "cache", fmt::format("at most {} bytes", options_.cache_bytes),
                    fmt::format("{} for {} tokens of prompt and {} of answer", bytes, length, request.max_tokens));
  auto generation = std::make_shared<Generation>(std::move(request), std::move(listener), tokenizer_, std::move(sequence), bytes);
  {
    const std::lock_guard lock(mutex_);
    if (closing_) throw Refused(Refused::kClosing, "shutting down");
    if (static_cast<int64_t>(waiting_.size()) + status_.running >= options_.parallel + options_.queue)
      throw Refused(Refused::kQueueFull, fmt::format("{} requests run and {} wait already", status_.running, waiting_.size()));
    waiting_.push_back(generation);
  }
  wake_.notify_one();
  return generation;
}

void Scheduler::cancel(const GenerationPtr& generation) {
  generation->cancelled = true;
  const std::lock_guard lock(mutex_);  // or the thread may be about to sleep
  wake_.notify_one();
}

void Scheduler::close(double grace_seconds) {
  std::unique_lock lock(mutex_);
  closing_ = true;
  wake_.notify_one();
  if (idle_.wait_for(lock, std::chrono::duration<double>(grace_seconds), [this] { return stopped_; })) return;
  cancel_all_ = true;
  wake_.notify_one();
  idle_.wait(lock, [this] { return stopped_; });
}

SchedulerStatus Scheduler::status() const {
  const std::lock_guard lock(mutex_);
  SchedulerStatus status = status_;
  status.waiting = static_cast<int64_t>(waiting_.size());
  return status;
}

void Scheduler::work() {
  while (admit()) {
    if (running_.empty()) continue;
    step();
    retire();
  }
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  idle_.notify_all();
}

// Waits for something to do. False: closing, and all have ended.
bool Scheduler::admit() {
  std::vector<GenerationPtr> ended;
  {
    std::unique_lock lock(mutex_);
    const auto has_cancelled = [this] {
      return cancel_all_ || std::any_of(waiting_.begin(), waiting_.end(), [](const auto& one) { return one->cancelled.load(); });
    };
    wake_.wait(lock, [&] { return closing_ || !running_.empty() || !waiting_.empty(); });
    if (has_cancelled()) drop_cancelled(ended);
    join();
    if (ended.empty() && closing_ && running_.empty() && waiting_.empty()) return false;
  }
  for (const auto& one : ended) one->report();
  return true;
}

void Scheduler::drop_cancelled(std::vector<GenerationPtr>& ended) {
  std::erase_if(waiting_, [&](const GenerationPtr& one) {
    if (!cancel_all_ && !one->cancelled) return false;
    one->finish(FinishReason::kCancelled);
    ended.push_back(one);
    return true;
  });
}

// In order of arrival: nobody overtakes who waits for memory.
void Scheduler::join() {
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < options_.parallel) {
    const GenerationPtr& next = waiting_.front();
    if (options_.cache_bytes > 0 && status_.reserved_bytes + next->bytes() > options_.cache_bytes) break;
    status_.reserved_bytes += next->bytes();
    running_.push_back(next);
    waiting_.pop_front();
  }
  status_.running = static_cast<int64_t>(running_.size());
}

void Scheduler::step() {
  bool cancel_all;
  {
    const std::lock_guard lock(mutex_);
    cancel_all = cancel_all_;
  }
  ++turn_;
  for (const auto& one : running_) {
    one->join(backend_.vocab_size);
    if (cancel_all || one->cancelled) one->finish(FinishReason::kCancelled);
  }
  while (gather_together()) forward();
  if (gather_long_prompt()) forward();
}

bool Scheduler::waits_for_turn(const Generation& one) const { return !one.ended() && one.turn != turn_; }

void Scheduler::add(const GenerationPtr& one) {
  one->turn = turn_;
  works_.push_back(one->work(options_.chunk));
  in_step_.push_back(one);
}

// Sequences that decode, and of the short rests of prompts those that fit beside them, longest waiting first.
bool Scheduler::gather_together() {
  std::vector<GenerationPtr> prompts;
  for (const auto& one : running_) {
    if (!waits_for_turn(*one) || one->next_rows(options_.chunk) > backend_.rows_together) continue;
    if (!one->decodes()) prompts.push_back(one);
    else if (static_cast<int64_t>(works_.size()) < backend_.rows_together) add(one);
  }
  std::stable_sort(prompts.begin(), prompts.end(), [](const auto& a, const auto& b) { return a->turn < b->turn; });
  auto rows = static_cast<int64_t>(works_.size());
  for (const auto& one : prompts) {
    rows += one->next_rows(options_.chunk);
    if (rows > backend_.rows_together) break;
    add(one);
  }
  return !works_.empty();
}

// One, so that who decodes waits for no more than that.
bool Scheduler::gather_long_prompt() {
  GenerationPtr next;
  for (const auto& one : running_)
    if (waits_for_turn(*one) && (!next || one->turn < next->turn)) next = one;
  if (next) add(next);
  return next != nullptr;
}

void Scheduler::forward() {
  if (!works_.empty()) {
    std::string failure;
    try {
      backend_.forward(works_);
    } catch (const std::bad_alloc&) {
      failure = "not enough memory";
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (failure.empty()) settle();
    else for (const auto& one : in_step_) one->finish(FinishReason::kFailed, failure);
  }
  works_.clear();
  in_step_.clear();
}

void Scheduler::settle() {
  uint64_t prompt = 0, made = 0;
  for (size_t i = 0; i < in_step_.size(); ++i) {
    if (!in_step_[i]->decodes()) prompt += works_[i].tokens.size();
    made += static_cast<uint64_t>(in_step_[i]->settle());
  }
  const std::lock_guard lock(mutex_);
  ++status_.forwards;
  status_.prompt_tokens += prompt;
  status_.completion_tokens += made;
}

void Scheduler::retire() {
  std::vector<GenerationPtr> ended;
  std::erase_if(running_, [&](const GenerationPtr& one) {
    if (!one->ended()) return false;
    ended.push_back(one);
    return true;
  });
  uint64_t cache = 0;
  for (const auto& one : running_) cache += backend_.bytes_now(*one->sequence());
  {
    const std::lock_guard lock(mutex_);
    for (const auto& one : ended) status_.reserved_bytes -= one->bytes();
    status_.running = static_cast<int64_t>(running_.size());
    status_.cache_bytes = cache;
  }
  for (const auto& one : ended) one->report();
}

}  // namespace espalier
