#include "espalier/engine/needle.h"

#include <cmath>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/rng.h"
#include "espalier/core/signals.h"
#include "espalier/engine/open.h"
#include "espalier/engine/text_quality.h"
#include "espalier/io/tokenizer.h"

namespace espalier {
namespace {

constexpr double kDepths[] = {0, 0.25, 0.5, 0.75, 1};
constexpr int64_t kShortest = 256, kTrials = 4;
constexpr const char* kQuestion = "\nThe secret number is";

struct Trial {
  std::vector<int32_t> prompt, answer;
};

class TrialMaker {
 public:
  TrialMaker(const Decoder& decoder, const EvalRequest& request)
      : tokenizer_(Tokenizer::load(decoder.model().path)),
        filler_(tokens_of(resolve_data(request.data.empty() ? "evaluation.txt" : request.data), decoder.model(), 0)),
        rng_(request.common.seed, "needle") {}

  // A prompt of `length` tokens with the needle at `depth` of the filler.
  Trial make(int64_t length, double depth) {
    const std::string number = fmt::format("{}", 10000 + rng_.below(90000));
    const auto needle = tokenizer_->encode(fmt::format("\nThe secret number is {}.\n", number), false);
    const auto question = tokenizer_->encode(kQuestion, false);
    Trial trial;
    trial.answer = tokenizer_->encode_continuation(" " + number);
    const auto& prefix = tokenizer_->special_prefix();
    const int64_t room = length - static_cast<int64_t>(prefix.size() + needle.size() + question.size() + trial.answer.size());
    if (room < 8) throw UserError("--length", "tokens of a needle test", fmt::format("at least {}", length - room + 8), fmt::format("{}", length));
    const auto first = static_cast<int64_t>(rng_.below(filler_.size()));
    const auto before = static_cast<int64_t>(std::lround(depth * static_cast<double>(room)));
    trial.prompt = prefix;
    const auto fill = [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) trial.prompt.push_back(filler_[static_cast<size_t>(first + i) % filler_.size()]);
    };
    fill(0, before);
    trial.prompt.insert(trial.prompt.end(), needle.begin(), needle.end());
    fill(before, room);
    trial.prompt.insert(trial.prompt.end(), question.begin(), question.end());
    return trial;
  }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> filler_;
  Rng rng_;
};

// How many of the answer's tokens are the most probable ones, the right ones preceding them: with all of them the greedy
// answer is exact.
int64_t right_tokens(Decoder& decoder, const EvalRequest& request, const Trial& trial, std::vector<float>& logits) {
  const auto capacity = static_cast<int64_t>(trial.prompt.size() + trial.answer.size());
  const auto sequence = decoder.start(attention_request(request.common, request.engine), capacity);
  int64_t right = 0;
  std::span<const int32_t> next = trial.prompt;
  for (const int32_t& id : trial.answer) {
    const ForwardWork work{sequence.get(), next, logits.data(), false};
    decoder.forward({&work, 1});
    right += std::max_element(logits.begin(), logits.end()) - logits.begin() == id;
    next = {&id, 1};
  }
  return right;
}

struct Tally {
  int64_t trials = 0, exact = 0, tokens = 0, right = 0;
  void add(int64_t found, int64_t all) { ++trials, exact += found == all, tokens += all, right += found; }
  double share() const { return static_cast<double>(exact) / static_cast<double>(trials); }
  double token_share() const { return static_cast<double>(right) / static_cast<double>(tokens); }
};

std::vector<int64_t> lengths_of(const Decoder& decoder, const EvalRequest& request) {
  const int64_t context = decoder.context_length();
  if (request.length > context) throw UserError("--length", "tokens", fmt::format("at most the model's context {}", context), fmt::format("{}", request.length));
  if (request.length > 0) return {request.length};
  std::vector<int64_t> lengths;
  for (int64_t length = std::min(kShortest, context); length <= context; length *= 2) lengths.push_back(length);
  return lengths;
}

}  // namespace

Json needle_retrieval(Decoder& decoder, const EvalRequest& request) {
  TrialMaker maker(decoder, request);
  std::vector<float> logits(static_cast<size_t>(decoder.vocab_size()));
  const auto lengths = lengths_of(decoder, request);
  const int64_t trials = request.limit > 0 ? request.limit : kTrials;
  Progress progress("needles", static_cast<int64_t>(lengths.size() * std::size(kDepths)) * trials, "trial");
  Json cells = Json::array();
  Tally all;
  for (int64_t length : lengths)
    for (double depth : kDepths) {
      Tally cell;
      for (int64_t i = 0; i < trials; ++i) {
        check_interrupted();
        const Trial trial = maker.make(length, depth);
        const int64_t right = right_tokens(decoder, request, trial, logits);
        for (Tally* tally : {&cell, &all}) tally->add(right, static_cast<int64_t>(trial.answer.size()));
        progress.advance(1);
      }
      cells.push_back({{"length", length}, {"depth", depth}, {"exact", cell.share()}, {"token_accuracy", cell.token_share()}});
    }
  const Estimate exact = share(all.exact, all.trials);
  return {{"metric", "needle"}, {"value", exact.value}, {"ci95", {exact.low, exact.high}}, {"trials", all.trials}, {"token_accuracy", all.token_share()}, {"cells", cells}};
}

}  // namespace espalier
