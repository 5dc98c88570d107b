#include "espalier/lab/training/ngram.h"

#include <cmath>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "espalier/core/error.h"

namespace espalier {
namespace {

struct Context {
  uint32_t total = 0, distinct = 0;
};

// The last n bytes and n itself in one key; exact for n up to 7.
uint64_t key_of(std::string_view text, size_t end, int n) {
  uint64_t key = static_cast<uint64_t>(n) << 56;
  for (int i = 1; i <= n; ++i) key |= static_cast<uint64_t>(static_cast<unsigned char>(text[end - static_cast<size_t>(i)])) << (8 * (i - 1));
  return key;
}

struct NgramModel {
  std::unordered_map<uint64_t, Context> contexts;
  std::unordered_map<uint64_t, uint32_t> counts;  // of n+1 bytes

  void observe(std::string_view text, size_t at, int order) {
    for (int n = 0; n < order && n <= static_cast<int>(at); ++n) {
      Context& context = contexts[key_of(text, at, n)];
      uint32_t& count = counts[key_of(text, at + 1, n + 1)];
      context.total += 1;
      context.distinct += count == 0;
      count += 1;
    }
  }

  double probability(std::string_view text, size_t at, int order) const {
    double p = 1.0 / 256;
    for (int n = 0; n < order && n <= static_cast<int>(at); ++n) {
      const auto context = contexts.find(key_of(text, at, n));
      if (context == contexts.end()) break;
      const auto count = counts.find(key_of(text, at + 1, n + 1));
      const double seen = count == counts.end() ? 0 : count->second;
      p = (seen + context->second.distinct * p) / (context->second.total + context->second.distinct);
    }
    return p;
  }
};

}  // namespace

double ngram_bits_per_byte(std::string_view train, std::string_view test, int order) {
  ESP_ASSERT(order >= 1 && order <= 6, "order {}", order);
  NgramModel model;
  for (size_t at = 0; at < train.size(); ++at) model.observe(train, at, order);
  double bits = 0;
  for (size_t at = 0; at < test.size(); ++at) bits -= std::log2(model.probability(test, at, order));
  return bits / static_cast<double>(test.size());
}

}  // namespace espalier
