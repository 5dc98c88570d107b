#include "espalier/lab/training/passkeys.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr const char* kWords[] = {"alpha",  "bravo",    "charlie", "delta",  "echo",   "foxtrot", "golf",   "hotel", "india",
                                  "juliet", "kilo",     "lima",    "mike",   "november", "oscar", "papa",   "quebec", "romeo",
                                  "sierra", "tango",    "uniform", "victor", "whiskey", "xray",   "yankee", "zulu"};
constexpr const char* kOrdinals[] = {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"};
constexpr int64_t kLengths = 50, kDepths = 1000;
constexpr double kFirstDepth = 0.05, kLastDepth = 0.95;

std::string ordinal(int64_t i) { return i < 10 ? kOrdinals[i] : fmt::format("{}th", i + 1); }

double spaced(int64_t i, int64_t count, double from, double to) { return from + (to - from) * static_cast<double>(i) / static_cast<double>(count - 1); }

}  // namespace

PasskeyMaker::PasskeyMaker(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> haystack, const PasskeyOptions& options, uint64_t seed)
    : tokenizer_(std::move(tokenizer)), haystack_(std::move(haystack)), options_(options), rng_(seed, "passkeys") {
  if (haystack_.empty()) user_error("passkeys: the text to hide them in is empty");
  ESP_ASSERT(options.keys >= 1 && options.keys <= kDepths && options.words >= 1 && options.shortest <= options.longest && options.multiple >= 1);
}

std::vector<int32_t> PasskeyMaker::text_of(const std::string& text) const { return tokenizer_->encode_continuation(text); }

std::string PasskeyMaker::key() {
  std::string key;
  for (int64_t i = 0; i < options_.words; ++i) key += std::string(" ") + kWords[rng_.below(std::size(kWords))];
  return key;
}

// Distinct, ascending.
std::vector<double> PasskeyMaker::depths() {
  std::vector<int64_t> all(kDepths);
  for (int64_t i = 0; i < kDepths; ++i) all[static_cast<size_t>(i)] = i;
  rng_.shuffle(all);
  all.resize(static_cast<size_t>(options_.keys));
  std::sort(all.begin(), all.end());
  std::vector<double> depths;
  for (int64_t i : all) depths.push_back(spaced(i, kDepths, kFirstDepth, kLastDepth));
  return depths;
}

PasskeySample PasskeyMaker::next() {
  std::vector<std::vector<int32_t>> needles, questions, answers;
  size_t fixed = tokenizer_->special_prefix().size();
  for (int64_t i = 0; i < options_.keys; ++i) {
    const std::string words = key();
    needles.push_back(text_of(fmt::format("\nThe {} key is{}.\n", ordinal(i), words)));
    questions.push_back(text_of(fmt::format("\nThe {} key is", ordinal(i))));
    answers.push_back(text_of(words));
    fixed += needles.back().size() + questions.back().size() + answers.back().size();
  }
  const double wanted = spaced(static_cast<int64_t>(rng_.below(kLengths)), kLengths, static_cast<double>(options_.shortest), static_cast<double>(options_.longest));
  const int64_t length = (static_cast<int64_t>(wanted) + options_.multiple - 1) / options_.multiple * options_.multiple;
  const int64_t filler = length - static_cast<int64_t>(fixed);
  if (filler < 1)
    user_error("passkeys: {} keys of {} words and their questions take {} tokens, a text has {}; give fewer keys or words, or longer texts", options_.keys,
               options_.words, fixed, length);
  PasskeySample sample;
  sample.ids = tokenizer_->special_prefix();
  const auto start = rng_.below(haystack_.size());
  int64_t used = 0;
  const auto fill = [&](int64_t until) {
    for (; used < until; ++used) sample.ids.push_back(haystack_[(start + static_cast<uint64_t>(used)) % haystack_.size()]);
  };
  const auto put = [&](const std::vector<int32_t>& ids) { sample.ids.insert(sample.ids.end(), ids.begin(), ids.end()); };
  const std::vector<double> places = depths();
  for (size_t i = 0; i < needles.size(); ++i) {
    fill(static_cast<int64_t>(places[i] * static_cast<double>(filler)));
    put(needles[i]);
  }
  fill(filler);
  sample.first_label = static_cast<int64_t>(sample.ids.size());
  for (size_t i = 0; i < questions.size(); ++i) {
    put(questions[i]);
    for (size_t t = 0; t < answers[i].size(); ++t) sample.answer_tokens.push_back(static_cast<int64_t>(sample.ids.size() + t));
    put(answers[i]);
  }
  return sample;
}

}  // namespace espalier
