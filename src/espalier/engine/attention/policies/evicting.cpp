#include "espalier/engine/attention/policies/evicting.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "espalier/core/ranking.h"

namespace espalier {
namespace {

struct Token {
  int32_t position;
  int64_t page, slot;
  float score;
};

// By position.
std::vector<Token> tokens_of(const PagedKvCache& cache, int layer, int64_t g) {
  std::vector<Token> tokens;
  const KvHead& head = cache.head(layer, g);
  tokens.reserve(static_cast<size_t>(head.tokens));
  for (size_t i = 0; i < head.pages.size(); ++i)
    for (uint64_t left = head.pages[i].alive; left != 0; left &= left - 1) {
      const int64_t slot = std::countr_zero(left);
      tokens.push_back({cache.position(layer, head.pages[i], slot), static_cast<int64_t>(i), slot, cache.extra(layer, head.pages[i], 0)[slot]});
    }
  std::sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) { return a.position < b.position; });
  return tokens;
}

}  // namespace

EvictingPolicy::EvictingPolicy(const EvictionOptions& options) : options_(options) {
  needs_.end_chunk = true;
  needs_.chunk = options.chunk;
  needs_.cache.extra = 1;
}

void EvictingPolicy::end_chunk(PagedKvCache& cache, int layer, int64_t length) {
  const int64_t keep = options_.budget > 0 ? options_.budget
                                           : std::max<int64_t>(1, static_cast<int64_t>(std::floor(options_.share * static_cast<double>(length) + 1e-9)));
  for (int64_t g = 0; g < cache.kv_heads(layer); ++g)
    if (cache.head(layer, g).tokens > keep) evict(cache, layer, g, keep);
}

void EvictingPolicy::evict(PagedKvCache& cache, int layer, int64_t g, int64_t keep) const {
  const std::vector<Token> tokens = tokens_of(cache, layer, g);
  const auto count = static_cast<int64_t>(tokens.size());
  const auto recent = std::min(keep, static_cast<int64_t>(std::floor(options_.recent * static_cast<double>(keep) + 1e-9)));
  int64_t first = 0;  // of the contest
  while (first < keep - recent && tokens[static_cast<size_t>(first)].position < options_.sink) ++first;
  std::vector<float> scores;
  for (int64_t i = first; i < count - recent; ++i) scores.push_back(tokens[static_cast<size_t>(i)].score);
  std::vector<uint8_t> kept(scores.size(), 0);
  for (int64_t i : select_largest(scores, keep - recent - first)) kept[static_cast<size_t>(i)] = 1;
  for (size_t i = 0; i < kept.size(); ++i) {
    const Token& token = tokens[static_cast<size_t>(first) + i];
    if (!kept[i]) cache.drop_slot(layer, g, token.page, token.slot);
  }
  cache.compact(layer, g);
}

std::vector<PolicyOption> eviction_options(const std::string& recent) {
  return {{"budget", "int", "", "1 … context", "tokens that each KV head keeps"},
          {"budget_bytes", "int", "", "one page of each head or more", "the same as bytes of the whole cache, in whole pages"},
          {"share", "real", "", "0 … 1", "the same as a share of the tokens seen so far"},
          {"sink", "int", "0", "0 … budget", "first tokens that are always kept, inside the budget"},
          {"recent", "real", recent, "0 … 1", "share of the budget that the last tokens get"},
          {"chunk", "int", "32", "1 … context", "tokens between two evictions; until the next one the cache grows by as many"}};
}

EvictionOptions read_eviction(const PolicyContext& c) {
  EvictionOptions options;
  options.budget = c.budget_tokens(KvCacheOptions().page);
  if (options.budget == 0) {
    options.share = c.real("share", 0, 1);
    if (options.share == 0) c.fail("share", "more than 0", "0");
  }
  options.sink = c.integer("sink", 0, options.budget > 0 ? options.budget : c.capacity);
  options.recent = c.real("recent", 0, 1);
  options.chunk = std::min(c.capacity, c.integer("chunk", 1, std::max<int64_t>(32, c.capacity)));
  return options;
}

}  // namespace espalier
