#include "espalier/engine/needle_text.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr const char* kNames[] = {"alpha",  "bravo",    "charlie", "delta",  "echo",   "foxtrot", "golf",   "hotel", "india",
                                  "juliet", "kilo",     "lima",    "mike",   "november", "oscar", "papa",   "quebec", "romeo",
                                  "sierra", "tango",    "uniform", "victor", "whiskey", "xray",   "yankee", "zulu"};
static_assert(std::size(kNames) == NeedleMaker::kMostNeedles);
constexpr int64_t kLeastFiller = 8;

}  // namespace

NeedleMaker::NeedleMaker(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> haystack, uint64_t seed, std::string_view stream)
    : tokenizer_(std::move(tokenizer)), haystack_(std::move(haystack)), rng_(seed, stream) {
  if (haystack_.empty()) user_error("needles: the text to hide them in is empty");
}

std::vector<double> NeedleMaker::spread(int64_t count) {
  std::vector<double> depths;
  for (int64_t i = 0; i < count; ++i) depths.push_back((static_cast<double>(i) + rng_.uniform()) / static_cast<double>(count));
  return depths;
}

NeedleText NeedleMaker::make(int64_t length, std::span<const double> depths) {
  const size_t count = depths.size();
  ESP_ASSERT(count >= 1 && static_cast<int64_t>(count) <= kMostNeedles && std::is_sorted(depths.begin(), depths.end()));
  const auto names = rng_.sample(kMostNeedles, static_cast<int64_t>(count));
  std::vector<std::vector<int32_t>> needles, questions, answers;
  size_t fixed = tokenizer_->special_prefix().size();
  for (size_t i = 0; i < count; ++i) {
    const std::string fact = count == 1 ? "\nThe secret number is" : fmt::format("\nThe secret number of {} is", kNames[names[i]]);
    const std::string number = fmt::format(" {}", 10000 + rng_.below(90000));
    needles.push_back(tokenizer_->encode_continuation(fact + number + ".\n"));
    questions.push_back(tokenizer_->encode_continuation(fact));
    answers.push_back(tokenizer_->encode_continuation(number));
    fixed += needles[i].size() + questions[i].size() + answers[i].size();
  }
  const int64_t room = length - static_cast<int64_t>(fixed);
  if (room < kLeastFiller)
    throw UserError("--length", fmt::format("tokens of a text with {} needles", count), fmt::format("at least {}", length - room + kLeastFiller), fmt::format("{}", length));
  NeedleText text;
  text.ids = tokenizer_->special_prefix();
  const auto start = rng_.below(haystack_.size());
  int64_t used = 0;
  const auto fill = [&](int64_t until) {
    for (; used < until; ++used) text.ids.push_back(haystack_[(start + static_cast<uint64_t>(used)) % haystack_.size()]);
  };
  const auto put = [&](const std::vector<int32_t>& ids) {
    const auto begin = static_cast<int64_t>(text.ids.size());
    text.ids.insert(text.ids.end(), ids.begin(), ids.end());
    return NeedleText::Range{begin, begin + static_cast<int64_t>(ids.size())};
  };
  for (size_t i = 0; i < count; ++i) {
    fill(std::lround(depths[i] * static_cast<double>(room)));
    text.needles.push_back(put(needles[i]));
  }
  fill(room);
  text.asked.resize(count);
  std::iota(text.asked.begin(), text.asked.end(), 0);
  rng_.shuffle(text.asked);
  for (size_t i : text.asked) {
    put(questions[i]);
    text.answers.push_back(put(answers[i]));
  }
  return text;
}

}  // namespace espalier
