#include "espalier/lab/training/retrieval_mix.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr double kNeedleRows = 0.5, kKeyRows = 0.15;  // the others repeat
constexpr int64_t kShortestWithNeedles = 128;         // tokens; shorter rows repeat alone
constexpr int64_t kTokensANeedle = 56;                // a text of so many times n tokens hides up to n needles
constexpr int64_t kMostNeedles = 8;
// Tokens of what is repeated. Most are short: with many copies in view induction heads form many times sooner.
constexpr int64_t kShortestRepeat = 3, kLongestApart = 32, kShortestWithGap = 64;

void mark(std::vector<float>& labels, int64_t begin, int64_t end, float value) {
  for (int64_t t = begin; t < end; ++t) labels[static_cast<size_t>(t - 1)] = value;
}

}  // namespace

RetrievalMix::RetrievalMix(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> tokens, uint64_t seed)
    : tokenizer_(tokenizer),
      tokens_(std::move(tokens)),
      seed_(seed),
      needle_maker_(tokenizer, tokens_, seed, "retrieval/needles"),
      rng_(seed, "retrieval") {}

RetrievalMix::Row RetrievalMix::needles(int64_t length) {
  const int64_t most = std::clamp<int64_t>(length / kTokensANeedle, 1, kMostNeedles);
  const int64_t count = rng_.uniform() < 0.4 ? 1 : 1 + static_cast<int64_t>(rng_.below(static_cast<uint64_t>(most)));
  const NeedleText text = needle_maker_.make(length + 1, needle_maker_.spread(count));
  Row row{text.ids, std::vector<float>(static_cast<size_t>(length), 1), std::vector<float>(static_cast<size_t>(length), 0)};
  for (const auto& [begin, end] : text.needles) mark(row.text, begin, end, 0);
  for (const auto& [begin, end] : text.answers) mark(row.text, begin, end, 0), mark(row.fetch, begin, end, 1);
  return row;
}

RetrievalMix::Row RetrievalMix::word_keys(int64_t length) {
  auto& maker = key_makers_[length];
  if (!maker) {
    const PasskeyOptions options{.keys = length < 512 ? 2 : 4, .words = 4, .shortest = length + 1, .longest = length + 1, .multiple = 1};
    maker = std::make_unique<PasskeyMaker>(tokenizer_, tokens_, options, seed_ + static_cast<uint64_t>(length));
  }
  const PasskeySample sample = maker->next();
  Row row{sample.ids, std::vector<float>(static_cast<size_t>(length), 1), std::vector<float>(static_cast<size_t>(length), 0)};
  mark(row.text, sample.first_label, length + 1, 0);
  for (int64_t t : sample.answer_tokens) mark(row.fetch, t, t + 1, 1);
  return row;
}

// Random tokens of the text, over and over; or once, running text, and once more. What may be fetched is every token of a
// copy but its first. Lengths are log-uniform.
RetrievalMix::Row RetrievalMix::repetition(int64_t length) {
  const bool apart = length >= kShortestWithGap && rng_.uniform() < 0.5;
  const int64_t longest = apart ? std::min(kLongestApart, length / 4) : length / 3;
  const auto size = static_cast<int64_t>(static_cast<double>(kShortestRepeat) * std::pow(static_cast<double>(longest + 1) / static_cast<double>(kShortestRepeat), rng_.uniform()));
  std::vector<int32_t> segment;
  for (int64_t i = 0; i < size; ++i) segment.push_back(tokens_[rng_.below(tokens_.size())]);
  Row row{{}, std::vector<float>(static_cast<size_t>(length), 0), std::vector<float>(static_cast<size_t>(length), 0)};
  const auto start = rng_.below(tokens_.size());
  const int64_t second = apart ? length + 1 - size : size;  // where the second copy begins
  for (int64_t t = 0; t <= length; ++t)
    row.ids.push_back(t < size      ? segment[static_cast<size_t>(t)]
                      : t < second ? tokens_[(start + static_cast<uint64_t>(t)) % tokens_.size()]
                                   : segment[static_cast<size_t>((t - second) % size)]);
  if (apart) mark(row.text, size + 1, second, 1);
  mark(row.fetch, second + 1, length + 1, 1);
  return row;
}

RetrievalBatch RetrievalMix::next(int64_t batch, int64_t length) {
  ESP_ASSERT(length >= 3 * kShortestRepeat);
  at::Tensor ids = at::empty({batch, length + 1}, at::kLong), text = at::empty({batch, length}), fetch = at::empty({batch, length});
  for (int64_t b = 0; b < batch; ++b) {
    const double kind = length < kShortestWithNeedles ? 1 : rng_.uniform();
    const Row row = kind < kNeedleRows ? needles(length) : kind < kNeedleRows + kKeyRows ? word_keys(length) : repetition(length);
    ESP_ASSERT(static_cast<int64_t>(row.ids.size()) == length + 1);
    std::copy(row.ids.begin(), row.ids.end(), ids[b].data_ptr<int64_t>());
    std::copy(row.text.begin(), row.text.end(), text[b].data_ptr<float>());
    std::copy(row.fetch.begin(), row.fetch.end(), fetch[b].data_ptr<float>());
  }
  const auto mean_weights = [&](const at::Tensor& marks) { return marks / marks.sum(1, true).clamp_min(1) / static_cast<double>(batch); };
  return {ids, mean_weights(text) + mean_weights(fetch), fetch > 0};
}

}  // namespace espalier
