#include "espalier/engine/scheduler.h"

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <numeric>

#include "tests/engine/scripted_backend.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::ScriptedModel;
using namespace std::chrono_literals;

constexpr int64_t kVocab = 2048, kContext = 256;

std::shared_ptr<const Tokenizer> tokenizer() {
  static const auto loaded = Tokenizer::load(test::assets_dir() / "models/espalier-tiny");
  return loaded;
}

// Each token follows from all before it, and none ends the text.
int32_t chaotic(const ScriptedModel::Sequence& tokens) {
  uint64_t hash = 1469598103934665603u;
  for (const int32_t id : tokens) hash = (hash ^ static_cast<uint64_t>(id)) * 1099511628211u;
  return static_cast<int32_t>(300 + (hash >> 20) % 1500);
}

// After a prompt of one token, the ids of this text, then the end.
ScriptedModel::Script says(const std::string& text) {
  return [ids = tokenizer()->encode(text, false)](const ScriptedModel::Sequence& tokens) {
    return tokens.size() <= ids.size() ? ids[tokens.size() - 1] : *tokenizer()->eos_id();
  };
}

struct Answer {
  std::string text;
  std::vector<std::string> pieces;
  GenerationEnd end;
};

class Asked {
 public:
  Asked(Scheduler& scheduler, GenerationRequest request) : answer_(std::make_shared<Answer>()), done_(std::make_shared<std::promise<void>>()) {
    const auto answer = answer_;
    const auto done = done_;
    handle = scheduler.submit(std::move(request), {[answer](std::string_view piece) {
                                                     answer->text += piece;
                                                     answer->pieces.emplace_back(piece);
                                                   },
                                                   [answer, done](const GenerationEnd& end) {
                                                     answer->end = end;
                                                     done->set_value();
                                                   }});
  }
  const Answer& wait() {
    if (waited_) return *answer_;
    waited_ = true;
    if (done_->get_future().wait_for(20s) != std::future_status::ready) throw std::runtime_error("no answer");
    return *answer_;
  }
  std::shared_ptr<Scheduler::Generation> handle;

 private:
  std::shared_ptr<Answer> answer_;
  std::shared_ptr<std::promise<void>> done_;
  bool waited_ = false;
};

GenerationRequest request_of(std::vector<int32_t> prompt, int64_t max_tokens = 100) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

// Lets the model pass forwards one at a time.
class Gate {
 public:
  explicit Gate(ScriptedModel& model) {
    model.before_forward = [this] {
      std::unique_lock lock(mutex_);
      ++arrived_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return open_ || passes_ > 0; });
      if (!open_) --passes_;
    };
  }
  void wait_for_arrivals(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ >= count; });
  }
  void pass(int count = 1) {
    const std::lock_guard lock(mutex_);
    passes_ += count;
    changed_.notify_all();
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0, passes_ = 0;
  bool open_ = false;
};

TEST(Scheduler, AnswersWithTheModelsText) {
  const std::string text = "Once upon a time, there was a größer dragon 🐉.";
  ScriptedModel model(says(text), kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {});
  const Answer answer = Asked(scheduler, request_of({500})).wait();
  EXPECT_EQ(answer.text, text);
  EXPECT_EQ(answer.end.reason, FinishReason::kStop);
  EXPECT_EQ(answer.end.prompt_tokens, 1);
  EXPECT_EQ(answer.end.completion_tokens, static_cast<int64_t>(tokenizer()->encode(text, false).size()) + 1);
  EXPECT_GT(answer.pieces.size(), 5u);
  for (const auto& piece : answer.pieces) EXPECT_TRUE(is_valid_utf8(piece));
  EXPECT_LE(answer.end.queued_seconds, answer.end.first_token_seconds);
  EXPECT_LE(answer.end.first_token_seconds, answer.end.seconds);
}

TEST(Scheduler, EndsAtMaxTokensAndAtTheContext) {
  ScriptedModel model(chaotic, kVocab, 40);
  Scheduler scheduler(model.backend(), tokenizer(), {});
  const Answer cut = Asked(scheduler, request_of({1, 2, 3}, 7)).wait();
  EXPECT_EQ(cut.end.reason, FinishReason::kLength);
  EXPECT_EQ(cut.end.completion_tokens, 7);
  const Answer full = Asked(scheduler, request_of({1, 2, 3}, 1000)).wait();
  EXPECT_EQ(full.end.reason, FinishReason::kLength);
  EXPECT_EQ(full.end.completion_tokens, 37);
  EXPECT_TRUE(full.text.starts_with(cut.text.substr(0, cut.text.size() / 2)));
}

TEST(Scheduler, StopStringsEndTheTextAcrossTokens) {
  const std::string text = "The dragon went to the castle and slept. Then it woke up.";
  ScriptedModel model(says(text), kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {});
  for (const std::string& stop : {std::string("castle and"), std::string("e c"), std::string("up."), std::string("The"), std::string("slept. Then")}) {
    GenerationRequest request = request_of({500});
    request.stop = {"never there", stop};
    const Answer answer = Asked(scheduler, request).wait();
    EXPECT_EQ(answer.text, text.substr(0, text.find(stop))) << stop;
    EXPECT_EQ(answer.end.reason, FinishReason::kStop);
  }
  GenerationRequest request = request_of({500});
  request.stop = {"up.x"};  // the text ends amid it
  EXPECT_EQ(Asked(scheduler, request).wait().text, text);
}

TEST(Scheduler, GoesOnBehindStopIdsWhenAsked) {
  ScriptedModel model([](const auto&) { return *tokenizer()->eos_id(); }, kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {});
  GenerationRequest request = request_of({500}, 5);
  request.ignore_stop_ids = true;
  const Answer answer = Asked(scheduler, request).wait();
  EXPECT_EQ(answer.end.reason, FinishReason::kLength);
  EXPECT_EQ(answer.end.completion_tokens, 5);
}

TEST(Scheduler, WhatRunsBesideARequestDoesNotMatter) {
  const auto ask = [](int i) {
    std::vector<int32_t> prompt(static_cast<size_t>(1 + i * 37 % 90));
    std::iota(prompt.begin(), prompt.end(), i);
    GenerationRequest request = request_of(prompt, 5 + i % 60);
    request.seed = static_cast<uint64_t>(i);
    if (i % 3 == 0) request.sampling = {.temperature = 2, .top_k = 50};
    return request;
  };
  std::map<int, std::string> alone;
  {
    ScriptedModel model(chaotic, kVocab, kContext);
    Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 1, .chunk = 16});
    for (int i = 0; i < 40; ++i) alone[i] = Asked(scheduler, ask(i)).wait().text;
  }
  ScriptedModel model(chaotic, kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 6, .queue = 1000, .chunk = 16});
  std::vector<std::thread> clients;
  for (int client = 0; client < 8; ++client)
    clients.emplace_back([&, client] {
      for (int i = client; i < 40; i += 8) {
        Asked asked(scheduler, ask(i));
        Asked dropped(scheduler, ask(i + 1));
        scheduler.cancel(dropped.handle);
        EXPECT_EQ(asked.wait().text, alone[i]) << i;
        dropped.wait();
      }
    });
  for (auto& client : clients) client.join();
  size_t most = 0;
  for (const auto& forward : model.forwards()) most = std::max(most, forward.tokens.size());
  EXPECT_GT(most, 2u);
  EXPECT_LE(most, 6u);
}

TEST(Scheduler, LongPromptsGoInBetweenTokensOfOthers) {
  ScriptedModel model(chaotic, kVocab, kContext);
  Gate gate(model);
  Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 4, .chunk = 32});
  Asked first(scheduler, request_of({1}, 20));
  gate.wait_for_arrivals(1);
  Asked second(scheduler, request_of(std::vector<int32_t>(100, 7), 3)), third(scheduler, request_of(std::vector<int32_t>(70, 8), 3));
  gate.open();
  first.wait();
  second.wait();
  third.wait();
  // By turns, each cut at multiples of 32, and between two chunks a token of the first; short rests go in beside it.
  std::vector<std::vector<size_t>> forwards;
  for (const auto& forward : model.forwards()) forwards.push_back(forward.tokens);
  ASSERT_GT(forwards.size(), 12u);
  forwards.resize(13);
  EXPECT_EQ(forwards, (std::vector<std::vector<size_t>>{{1}, {1}, {32}, {1}, {32}, {1}, {32}, {1}, {32}, {1, 6}, {32}, {1, 1, 4}, {1, 1, 1}}));
}

TEST(Scheduler, NoForwardHasMoreRowsThanStayAlike) {
  ScriptedModel model(chaotic, kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 16, .queue = 100, .chunk = 32});
  std::vector<std::unique_ptr<Asked>> asked;
  for (int i = 0; i < 40; ++i) asked.push_back(std::make_unique<Asked>(scheduler, request_of(std::vector<int32_t>(static_cast<size_t>(1 + i), 7), 30)));
  for (auto& one : asked) EXPECT_EQ(one->wait().end.completion_tokens, 30);
  size_t most = 0;
  for (const auto& forward : model.forwards()) {
    const size_t rows = std::accumulate(forward.tokens.begin(), forward.tokens.end(), size_t{0});
    most = std::max(most, forward.tokens.size());
    EXPECT_TRUE(rows <= ScriptedModel::kTogether || forward.tokens.size() == 1) << rows;
  }
  EXPECT_EQ(most, static_cast<size_t>(ScriptedModel::kTogether));
}

TEST(Scheduler, CancelsWhatRunsAndWhatWaits) {
  ScriptedModel model(chaotic, kVocab, kContext);
  Gate gate(model);
  Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 1});
  Asked running(scheduler, request_of({1}, 200));
  gate.wait_for_arrivals(1);
  Asked waiting(scheduler, request_of({2}, 200)), other(scheduler, request_of({3}, 2));
  EXPECT_EQ(scheduler.status().waiting, 2);
  EXPECT_EQ(scheduler.status().running, 1);
  scheduler.cancel(waiting.handle);
  gate.pass(2);
  EXPECT_EQ(waiting.wait().end.reason, FinishReason::kCancelled);
  scheduler.cancel(running.handle);
  gate.open();
  EXPECT_EQ(running.wait().end.reason, FinishReason::kCancelled);
  EXPECT_LT(running.wait().end.completion_tokens, 10);
  EXPECT_EQ(other.wait().end.reason, FinishReason::kLength);
  scheduler.cancel(other.handle);  // after its end: nothing
  EXPECT_EQ(scheduler.status().reserved_bytes, 0u);
}

TEST(Scheduler, RefusesWhenTheQueueIsFull) {
  ScriptedModel model(chaotic, kVocab, kContext);
  Gate gate(model);
  Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 1, .queue = 2});
  std::vector<std::unique_ptr<Asked>> asked;
  for (int i = 0; i < 3; ++i) asked.push_back(std::make_unique<Asked>(scheduler, request_of({1}, 2)));
  try {
    Asked(scheduler, request_of({1}, 2));
    ADD_FAILURE() << "taken";
  } catch (const Refused& refused) {
    EXPECT_EQ(refused.reason, Refused::kQueueFull);
  }
  gate.open();
  for (auto& one : asked) EXPECT_EQ(one->wait().end.reason, FinishReason::kLength);
  EXPECT_EQ(Asked(scheduler, request_of({1}, 2)).wait().end.reason, FinishReason::kLength);
}

TEST(Scheduler, CachesStayWithinTheirBound) {
  ScriptedModel model(chaotic, kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 8, .queue = 100, .cache_bytes = 100});
  ESP_EXPECT_USER_ERROR(Asked(scheduler, request_of({1}, 100)), "at most 100 bytes");
  std::vector<std::unique_ptr<Asked>> asked;
  for (int i = 0; i < 20; ++i) asked.push_back(std::make_unique<Asked>(scheduler, request_of({1}, 39)));  // 40 each: two at a time
  for (auto& one : asked) EXPECT_EQ(one->wait().end.reason, FinishReason::kLength);
  for (const auto& forward : model.forwards()) EXPECT_LE(forward.tokens.size(), 2u);
}

TEST(Scheduler, RefusesRequestsThatCannotRun) {
  ScriptedModel model(chaotic, kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {});
  ESP_EXPECT_USER_ERROR(Asked(scheduler, request_of({})), "no tokens");
  ESP_EXPECT_USER_ERROR(Asked(scheduler, request_of(std::vector<int32_t>(256, 1))), "fewer than the model's context 256");
  ESP_EXPECT_USER_ERROR(Asked(scheduler, request_of({-1})), "0 to 2047");
  ESP_EXPECT_USER_ERROR(Asked(scheduler, request_of({2048})), "0 to 2047");
  ESP_EXPECT_USER_ERROR(Asked(scheduler, request_of({1}, 0)), "at least 1");
  GenerationRequest request = request_of({1});
  request.attention.policy = "nothing";
  ESP_EXPECT_USER_ERROR(Asked(scheduler, request), "nothing");
}

TEST(Scheduler, AFailingForwardEndsItsRequestsOnly) {
  ScriptedModel model(chaotic, kVocab, kContext);
  std::atomic<bool> fail{true};
  model.before_forward = [&] {
    if (fail) throw UserError("out of luck");
  };
  Scheduler scheduler(model.backend(), tokenizer(), {});
  const Answer failed = Asked(scheduler, request_of({1}, 3)).wait();
  EXPECT_EQ(failed.end.reason, FinishReason::kFailed);
  EXPECT_EQ(failed.end.error, "out of luck");
  fail = false;
  EXPECT_EQ(Asked(scheduler, request_of({1}, 3)).wait().end.reason, FinishReason::kLength);
}

TEST(Scheduler, ClosingLetsWhatRunsFinish) {
  ScriptedModel model(chaotic, kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 2});
  std::vector<std::unique_ptr<Asked>> asked;
  for (int i = 0; i < 5; ++i) asked.push_back(std::make_unique<Asked>(scheduler, request_of({1}, 20)));
  scheduler.close(20);
  for (auto& one : asked) EXPECT_EQ(one->wait().end.reason, FinishReason::kLength);
  EXPECT_THROW(Asked(scheduler, request_of({1})), Refused);
}

TEST(Scheduler, ClosingWithoutGraceCancels) {
  ScriptedModel model(chaotic, kVocab, kContext);
  model.before_forward = [] { std::this_thread::sleep_for(2ms); };
  Scheduler scheduler(model.backend(), tokenizer(), {.parallel = 2});
  std::vector<std::unique_ptr<Asked>> asked;
  for (int i = 0; i < 5; ++i) asked.push_back(std::make_unique<Asked>(scheduler, request_of({1}, 200)));
  scheduler.close(0.02);
  for (auto& one : asked) EXPECT_EQ(one->wait().end.reason, FinishReason::kCancelled);
}

TEST(Scheduler, CountsTokensAndForwards) {
  ScriptedModel model(chaotic, kVocab, kContext);
  Scheduler scheduler(model.backend(), tokenizer(), {.chunk = 8});
  Asked(scheduler, request_of(std::vector<int32_t>(20, 1), 4)).wait();
  scheduler.close(5);
  const SchedulerStatus status = scheduler.status();
  EXPECT_EQ(status.prompt_tokens, 20u);
  EXPECT_EQ(status.completion_tokens, 4u);
  EXPECT_EQ(status.forwards, 6u);  // chunks of 8, 8 and 4, then three single tokens
  EXPECT_EQ(status.cache_bytes, 0u);
}

}  // namespace
}  // namespace espalier
