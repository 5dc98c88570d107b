#include "espalier/engine/generate.h"

#include <algorithm>
#include <chrono>

#include "espalier/core/error.h"
#include "espalier/core/signals.h"
#include "espalier/engine/chat_template.h"
#include "espalier/engine/open.h"
#include "espalier/engine/sampler.h"
#include "espalier/engine/statistics.h"
#include "espalier/engine/stop_text.h"
#include "espalier/io/tokenizer.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<int32_t> prompt_ids(const GenerateRequest& request, const Tokenizer& tokenizer, const Model& model) {
  if (!request.chat) return tokenizer.encode(request.prompt, true);
  const auto chat = ChatTemplate::load(model.path);
  if (!chat) user_error("--chat: {} has no chat template", model.path.string());
  ChatInput input;
  if (!request.system.empty()) input.messages.push_back({{"role", "system"}, {"content", request.system}});
  input.messages.push_back({{"role", "user"}, {"content", request.prompt}});
  return tokenizer.encode(chat->render(input), false);  // templates write the special tokens themselves
}

class Generation {
 public:
  Generation(const GenerateRequest& request, Decoder& decoder, std::shared_ptr<const Tokenizer> tokenizer, int64_t room)
      : request_(request), decoder_(decoder), tokenizer_(std::move(tokenizer)), stream_(tokenizer_), stop_(request.stop),
        sampler_({request.temperature, request.top_k, request.top_p, request.min_p, request.repetition_penalty}, request.common.seed),
        room_(room), logits_(static_cast<size_t>(decoder.vocab_size())) {}

  // Until a stop, or `room` tokens.
  void run(AttentionSequence& sequence, const std::vector<int32_t>& prompt) {
    for (int32_t id : prompt) sampler_.saw(id);
    feed(sequence, prompt);
    while (made_ < room_) {
      check_interrupted();
      const int32_t next = sampler_.choose(logits_);
      ++made_;
      sampler_.saw(next);
      const auto& ends = tokenizer_->stop_ids();
      if (std::find(ends.begin(), ends.end(), next) != ends.end()) finish_ = "stop";
      else emit(stop_.push(stream_.push(next)));
      if (stop_.stopped()) finish_ = "stop";
      if (finish_ == "stop") break;
      if (made_ < room_) feed(sequence, {&next, 1});
    }
    emit(stop_.push(stream_.finish()));
    emit(stop_.finish());
  }

  const std::string& text() const { return text_; }
  const std::string& finish() const { return finish_; }
  int64_t made() const { return made_; }

 private:
  void feed(AttentionSequence& sequence, std::span<const int32_t> ids) {
    const ForwardWork work{&sequence, ids, logits_.data(), false};
    const auto start = Clock::now();
    decoder_.forward({&work, 1});
    (prefill_seconds == 0 ? prefill_seconds : decode_seconds) += seconds_since(start);
  }

  void emit(const std::string& piece) {
    text_ += piece;
    if (request_.on_text && !piece.empty()) request_.on_text(piece);
  }

 public:
  double prefill_seconds = 0, decode_seconds = 0;

 private:
  const GenerateRequest& request_;
  Decoder& decoder_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  StreamDecoder stream_;
  StopText stop_;
  Sampler sampler_;
  int64_t room_, made_ = 0;
  std::vector<float> logits_;
  std::string text_, finish_ = "length";
};

}  // namespace

Json generate(const GenerateRequest& request) {
  const auto start = Clock::now();
  const auto decoder = open_decoder(request.model, request.common, request.engine);
  const auto tokenizer = Tokenizer::load(decoder->model().path);
  const auto prompt = prompt_ids(request, *tokenizer, decoder->model());
  if (prompt.empty()) user_error("--prompt: the prompt has no tokens, and the tokenizer adds none");
  const auto length = static_cast<int64_t>(prompt.size());
  if (length >= decoder->context_length())
    throw UserError("--prompt", "tokens", fmt::format("fewer than the model's context {}", decoder->context_length()), fmt::format("{}", length));
  const int64_t room = std::min(request.max_tokens, decoder->context_length() - length);
  const auto sequence = decoder->start(attention_request(request.common, request.engine), length + room);
  const double load_seconds = seconds_since(start);
  Generation generation(request, *decoder, tokenizer, room);
  generation.run(*sequence, prompt);
  const double steps = static_cast<double>(std::max<int64_t>(0, sequence->length() - length));
  return {{"text", generation.text()},
          {"tokens", generation.made()},
          {"prompt_tokens", length},
          {"finish", generation.finish()},
          {"load_s", load_seconds},
          {"prefill_tok_s", static_cast<double>(length) / std::max(generation.prefill_seconds, 1e-9)},
          {"decode_tok_s", steps == 0 ? Json() : Json(steps / std::max(generation.decode_seconds, 1e-9))},
          {"policy", request.engine.policy.empty() ? "dense" : request.engine.policy},
          {"cache_bytes", sequence->cache_bytes()}};
}

}  // namespace espalier
