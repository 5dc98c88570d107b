#include "espalier/engine/server/completion.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr size_t kMostHeld = 1u << 20;  // of text that a client does not read
constexpr auto kLook = std::chrono::milliseconds(100);

// Where the scheduler's thread leaves what a connection's thread takes.
class Mailbox {
 public:
  // False: too much lies here already.
  bool put(std::string_view text) {
    const std::lock_guard lock(mutex_);
    if (text_.size() + text.size() > kMostHeld) return false;
    text_ += text;
    changed_.notify_one();
    return true;
  }
  void end(const GenerationEnd& end) {
    const std::lock_guard lock(mutex_);
    end_ = end;
    changed_.notify_one();
  }
  struct Taken {
    std::string text;
    std::optional<GenerationEnd> end;
  };
  // What has come; after a while, perhaps nothing.
  Taken take() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kLook, [&] { return end_ || !text_.empty(); });
    return {std::exchange(text_, ""), end_};
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  std::optional<GenerationEnd> end_;
};

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }
std::string event(const Json& json) { return "data: " + dumped(json) + "\n\n"; }

ApiError failure(const GenerationEnd& end) {
  if (end.reason == FinishReason::kFailed) return ApiError(500, end.error);
  return ApiError(503, "the server is shutting down");
}

// Messages of the command line's options, about fields of the same names.
ApiError from_options(std::string message) {
  if (!message.starts_with("--")) return ApiError(400, message);
  message.erase(0, 2);
  return ApiError(400, message, message.substr(0, message.find(':')));
}

bool has_answer(const GenerationEnd& end) { return end.reason == FinishReason::kStop || end.reason == FinishReason::kLength; }

class Completion {
 public:
  Completion(Scheduler& scheduler, const CompletionObjects& objects, HttpExchange& exchange) : scheduler_(scheduler), objects_(objects), exchange_(exchange) {}

  void start(Metrics& metrics, GenerationRequest request) {
    // The listener may outlive this object, so it holds the mailbox only.
    generation_ = scheduler_.submit(std::move(request), {[box = box_, lost = lost_](std::string_view text) {
                                                           if (!box->put(text)) *lost = true;
                                                         },
                                                         [box = box_, &metrics](const GenerationEnd& end) {
                                                           metrics.ended(end);
                                                           box->end(end);
                                                         }});
  }

  int send_whole() {
    std::string text;
    for (;;) {
      const auto taken = next();
      if (!taken) return 499;
      text += taken->text;
      if (!taken->end) continue;
      if (!has_answer(*taken->end)) throw failure(*taken->end);
      HttpResponse response;
      response.body = dumped(objects_.whole(text, *taken->end)) + "\n";
      return exchange_.send(response) ? 200 : 499;
    }
  }

  int send_stream(bool include_usage) {
    // Nothing is sent before there is something, so that a failure can still have its status.
    bool begun = false;
    for (;;) {
      const auto taken = next();
      if (!taken) return 499;
      if (!begun && taken->end && !has_answer(*taken->end)) throw failure(*taken->end);
      if (!begun && (taken->end || !taken->text.empty())) {
        begun = true;
        if (!exchange_.begin("text/event-stream")) return given_up();
        if (const Json first = objects_.first_chunk(); !first.is_null()) exchange_.write(event(first));
      }
      if (!taken->text.empty() && !exchange_.write(event(objects_.chunk(taken->text)))) return given_up();
      if (taken->end) return send_end(*taken->end, include_usage);
    }
  }

 private:
  // None: nobody is there to take it, and the generation is cancelled.
  std::optional<Mailbox::Taken> next() {
    if (exchange_.peer_gone() || *lost_) {
      given_up();
      return std::nullopt;
    }
    return box_->take();
  }

  int given_up() {
    scheduler_.cancel(generation_);
    exchange_.abandon();
    return 499;
  }

  int send_end(const GenerationEnd& end, bool include_usage) {
    std::string last;
    if (has_answer(end)) {
      last = event(objects_.last_chunk(end));
      if (include_usage) last += event(objects_.usage_chunk(end));
      last += "data: [DONE]\n\n";
    } else {
      last = "data: " + error_response(failure(end)).body + "\n";
    }
    return exchange_.write(last) && exchange_.end() ? 200 : 499;
  }

  Scheduler& scheduler_;
  const CompletionObjects& objects_;
  HttpExchange& exchange_;
  std::shared_ptr<Mailbox> box_ = std::make_shared<Mailbox>();
  std::shared_ptr<std::atomic<bool>> lost_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<Scheduler::Generation> generation_;
};

}  // namespace

int run_completion(Scheduler& scheduler, Metrics& metrics, ApiRequest request, const CompletionObjects& objects, HttpExchange& exchange) {
  Completion completion(scheduler, objects, exchange);
  try {
    completion.start(metrics, std::move(request.generation));
  } catch (const Refused& refused) {
    if (refused.reason == Refused::kClosing) throw ApiError(503, "the server is shutting down");
    throw ApiError(429, std::string("too many requests: ") + refused.what(), "", "queue_full");
  } catch (const UserError& error) {
    throw from_options(error.what());
  }
  return request.stream ? completion.send_stream(request.include_usage) : completion.send_whole();
}

}  // namespace espalier
