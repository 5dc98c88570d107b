// A language model that says what a test wants, for what drives one.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/engine/scheduler.h"

namespace espalier::test {

struct ScriptedForward {
  std::vector<size_t> tokens;  // of each sequence
};

// The scheduler never looks into a sequence, so the tokens seen so far can stand for one.
class ScriptedModel {
 public:
  using Sequence = std::vector<int32_t>;
  static constexpr int64_t kTogether = 8;
  // The next id after these.
  using Script = std::function<int32_t(const Sequence&)>;

  ScriptedModel(Script script, int64_t vocab, int64_t context) : script_(std::move(script)), vocab_(vocab), context_(context) {}

  SchedulerBackend backend() {
    return {[this](const AttentionRequest& request, int64_t) {
              if (request.policy != "dense") throw UserError("policy", "", "dense", request.policy);
              auto tokens = std::make_shared<Sequence>();
              return std::shared_ptr<AttentionSequence>(tokens, reinterpret_cast<AttentionSequence*>(tokens.get()));
            },
            [this](std::span<const ForwardWork> work) { forward(work); },
            [](const AttentionSequence&, int64_t tokens) { return static_cast<uint64_t>(tokens); },
            [](const AttentionSequence& sequence) { return reinterpret_cast<const Sequence&>(sequence).size(); },
            vocab_,
            context_,
            kTogether};
  }

  std::vector<ScriptedForward> forwards() {
    const std::lock_guard lock(mutex_);
    return forwards_;
  }

  std::function<void()> before_forward;

 private:
  void forward(std::span<const ForwardWork> work) {
    if (before_forward) before_forward();
    ScriptedForward seen;
    for (const ForwardWork& one : work) {
      auto& tokens = reinterpret_cast<Sequence&>(*one.sequence);
      tokens.insert(tokens.end(), one.tokens.begin(), one.tokens.end());
      seen.tokens.push_back(one.tokens.size());
      if (!one.logits) continue;
      std::fill_n(one.logits, vocab_, 0.0f);
      one.logits[script_(tokens)] = 5;
    }
    const std::lock_guard lock(mutex_);
    forwards_.push_back(std::move(seen));
  }

  Script script_;
  int64_t vocab_, context_;
  std::mutex mutex_;
  std::vector<ScriptedForward> forwards_;
};

}  // namespace espalier::test
