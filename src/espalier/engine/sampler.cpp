#include "espalier/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// The most probable first, the lowest id among equals.
struct Before {
  const float* logits;
  bool operator()(int32_t a, int32_t b) const { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; }
};

int32_t most_probable(std::span<float> logits) {
  int32_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) logits[i] = kNever;
    if (logits[i] > logits[best]) best = static_cast<int32_t>(i);
  }
  return best;
}

// Leaves the smallest set of the most probable ids whose share of the sum reaches top_p, most probable first. A heap,
// because that set is nearly always much smaller than a vocabulary.
void keep_top_p(std::vector<int32_t>& ids, const float* weights, double top_p) {
  double sum = 0, kept = 0;
  for (const int32_t id : ids) sum += weights[id];
  const auto after = [before = Before{weights}](int32_t a, int32_t b) { return before(b, a); };
  std::make_heap(ids.begin(), ids.end(), after);
  auto end = ids.end();
  do {
    std::pop_heap(ids.begin(), end, after);
    kept += weights[*--end];
  } while (end != ids.begin() && kept < top_p * sum);
  ids.erase(ids.begin(), end);
  std::reverse(ids.begin(), ids.end());
}

int32_t draw(const std::vector<int32_t>& ids, const float* weights, double random) {
  double sum = 0;
  for (const int32_t id : ids) sum += weights[id];
  double left = random * sum;
  int32_t last = ids.front();
  for (const int32_t id : ids) {
    if (weights[id] <= 0) continue;
    last = id;
    if ((left -= weights[id]) < 0) break;
  }
  return last;
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, uint64_t seed) : options_(options), rng_(seed, "sampler") {}

void Sampler::saw(int32_t id) {
  if (options_.repetition_penalty == 1 && options_.frequency_penalty == 0 && options_.presence_penalty == 0) return;
  const auto at = std::lower_bound(seen_.begin(), seen_.end(), std::pair<int32_t, int32_t>(id, 0));
  if (at != seen_.end() && at->first == id) {
    ++at->second;
  } else {
    seen_.insert(at, {id, 1});
  }
}

int32_t Sampler::choose(std::span<float> logits) {
  ESP_ASSERT(!logits.empty());
  for (const auto& [id, times] : seen_) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    double logit = logits[id];
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    logits[id] = static_cast<float>(logit - times * options_.frequency_penalty - options_.presence_penalty);
  }
  const int32_t best = most_probable(logits);
  const double largest = logits[best];
  if (options_.temperature <= 0 || options_.top_k == 1 || !std::isfinite(largest)) return best;

  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (const auto k = static_cast<size_t>(options_.top_k); options_.top_k > 0 && k < order_.size()) {
    std::nth_element(order_.begin(), order_.begin() + static_cast<ptrdiff_t>(k), order_.end(), Before{logits.data()});
    order_.resize(k);
    std::sort(order_.begin(), order_.end(), Before{logits.data()});
  }
  for (const int32_t id : order_)  // probabilities but for one factor; the largest is 1
    logits[id] = static_cast<float>(std::exp((logits[id] - largest) / options_.temperature));
  if (options_.top_p < 1) keep_top_p(order_, logits.data(), options_.top_p);
  if (options_.min_p > 0)
    std::erase_if(order_, [&](int32_t id) { return logits[id] < static_cast<float>(options_.min_p); });
  return order_.empty() ? best : draw(order_, logits.data(), rng_.uniform());
}

}  // namespace espalier
