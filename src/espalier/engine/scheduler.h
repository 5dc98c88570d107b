// Continuous batching: requests join and leave the running batch between two forwards of one Decoder, prompts go in by
// chunks, one between two tokens of the sequences that decode. One thread drives the decoder; everything else may be called
// from any thread.
// A request's tokens do not depend on what runs beside it: its prompt is always cut at the same places, and a chunk of
// many rows, whose products are other kernels', is a forward of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "espalier/engine/decoder.h"
#include "espalier/engine/sampler.h"
#include "espalier/io/tokenizer.h"

namespace espalier {

// What the scheduler needs of a Decoder.
struct SchedulerBackend {
  std::function<std::shared_ptr<AttentionSequence>(const AttentionRequest&, int64_t capacity)> start;  // from any thread
  std::function<void(std::span<const ForwardWork>)> forward;
  std::function<uint64_t(const AttentionSequence&, int64_t tokens)> bytes_for;  // cache that so many tokens take at most
  std::function<uint64_t(const AttentionSequence&)> bytes_now;
  int64_t vocab_size = 0, context_length = 0;
  int64_t rows_together = 1;  // of one forward, up to which each row's results are what they are alone
};
SchedulerBackend backend_of(Decoder& decoder);  // which must live as long

struct SchedulerOptions {
  int64_t parallel = 8;      // sequences of one forward at most; DecoderOptions::batch must be as many
  int64_t queue = 64;        // requests that wait at most
  int64_t chunk = 256;       // tokens of a prompt in one forward at most
  uint64_t cache_bytes = 0;  // of all running sequences together; 0: no limit
};

struct GenerationRequest {
  std::vector<int32_t> prompt;     // at least one id
  int64_t max_tokens = 128;        // cut to what the context leaves
  SamplingOptions sampling;
  uint64_t seed = 0;
  std::vector<std::string> stop;   // texts that end the answer; not part of it
  bool ignore_stop_ids = false;    // go on behind the tokenizer's stop ids
  AttentionRequest attention;
};

enum class FinishReason : uint8_t { kStop, kLength, kCancelled, kFailed };

struct GenerationEnd {
  FinishReason reason = FinishReason::kStop;
  std::string error;  // of kFailed
  int64_t prompt_tokens = 0, completion_tokens = 0;  // the stop id counts
  double queued_seconds = 0, first_token_seconds = 0, seconds = 0;  // since submit(); first token 0: there was none
};

// Called on the scheduler's thread, so they must not wait for anything. on_end is called exactly once, last.
struct GenerationListener {
  std::function<void(std::string_view)> on_text;  // pieces of valid UTF-8, never empty
  std::function<void(const GenerationEnd&)> on_end;
};

// Not taken, and nobody's mistake.
class Refused : public std::runtime_error {
 public:
  enum Reason { kQueueFull, kClosing };
  Refused(Reason why, const std::string& message) : std::runtime_error(message), reason(why) {}
  Reason reason;
};

struct SchedulerStatus {
  int64_t waiting = 0, running = 0;
  uint64_t prompt_tokens = 0, completion_tokens = 0, forwards = 0;
  uint64_t cache_bytes = 0, reserved_bytes = 0;  // allocated now; what the running ones may grow to
};

class Scheduler {
 public:
  class Generation;

  Scheduler(SchedulerBackend backend, std::shared_ptr<const Tokenizer> tokenizer, const SchedulerOptions& options);
  ~Scheduler();  // cancels what is left

  // UserError: an empty or too long prompt, an id beyond the vocabulary, a policy or option that does not fit, more cache
  // than there may ever be. Refused: too many wait, or closing.
  std::shared_ptr<Generation> submit(GenerationRequest request, GenerationListener listener);
  void cancel(const std::shared_ptr<Generation>& generation);  // ends it between two forwards; once ended, nothing happens

  // Takes no more; returns when all have ended. What still runs after the grace period is cancelled.
  void close(double grace_seconds);
  SchedulerStatus status() const;
  const SchedulerBackend& backend() const { return backend_; }

 private:
  using GenerationPtr = std::shared_ptr<Generation>;

  void work();
  bool admit();
  void drop_cancelled(std::vector<GenerationPtr>& ended);
  void join();
  void step();
  bool waits_for_turn(const Generation& one) const;
  void add(const GenerationPtr& one);
  bool gather_together();
  bool gather_long_prompt();
  void forward();
  void settle();
  void retire();

  SchedulerBackend backend_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  SchedulerOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<GenerationPtr> waiting_;
  bool closing_ = false, cancel_all_ = false, stopped_ = false;
  SchedulerStatus status_;

  std::vector<GenerationPtr> running_;  // from here on, of the thread alone
  std::vector<GenerationPtr> in_step_;
  std::vector<ForwardWork> works_;
  uint64_t turn_ = 0;
  std::thread thread_;
};

}  // namespace espalier
