#include "espalier/engine/text_quality.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/io/text_dataset.h"

namespace espalier {

std::vector<int32_t> tokens_of(const std::filesystem::path& data, const Model& model, int64_t limit) {
  std::vector<int32_t> ids = ids_of({data, Tokenizer::load(model.path)}, limit);
  for (int32_t id : ids)
    if (id >= model.vocab_size)
      throw UserError(model.path.string(), "token id of the tokenizer", fmt::format("less than vocab_size {}", model.vocab_size), fmt::format("{}", id));
  return ids;
}

TokenSequences windows_of(const std::vector<int32_t>& tokens, int64_t length, int64_t stride) {
  ESP_ASSERT(length >= 2 && stride >= 1 && stride <= length);
  TokenSequences windows;
  const auto count = static_cast<int64_t>(tokens.size());
  for (int64_t at = 0; at == 0 || at + length - stride < count; at += stride) {
    const int64_t end = std::min(count, at + length);
    if (end - at >= 2) windows.emplace_back(tokens.begin() + at, tokens.begin() + end);
  }
  return windows;
}

void NatsSums::add(size_t window, double nats, double squares, int64_t tokens) {
  if (windows_.size() <= window) windows_.resize(window + 1);
  windows_[window].first += nats;
  windows_[window].second += tokens;
  nats_ += nats;
  squares_ += squares;
  tokens_ += tokens;
}

double NatsSums::standard_error() const {
  const double n = static_cast<double>(tokens_), mean = nats_per_token();
  if (windows_.size() < 2) return n > 1 ? std::sqrt(std::max(0.0, squares_ / n - mean * mean) / (n - 1)) : 0;
  double spread = 0;
  for (const auto& [nats, tokens] : windows_) spread += std::pow(nats - mean * static_cast<double>(tokens), 2);
  const double count = static_cast<double>(windows_.size());
  return std::sqrt(spread * count / (count - 1)) / n;  // of a ratio estimator over windows
}

Estimate NatsSums::perplexity() const {
  const double margin = 1.96 * standard_error(), mean = nats_per_token();
  return {std::exp(mean), std::exp(mean - margin), std::exp(mean + margin)};
}

}  // namespace espalier
