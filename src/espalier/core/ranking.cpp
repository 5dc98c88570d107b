#include "espalier/core/ranking.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr int64_t kSample = 512;          // sample that brackets the wanted rank
constexpr int64_t kSmall = 4 * kSample;   // below this, sampling costs more than it saves
constexpr size_t kCountAtOnce = 1 << 20;  // 32-bit counters vectorise twice as wide as 64-bit ones
constexpr int64_t kQuadraticGroup = 16;   // N:M groups up to this size are ranked by pairwise comparison

bool has_nan(std::span<const float> scores) {
  int found = 0;
  for (float score : scores) found |= score != score;
  return found != 0;
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Bracket {
  float low = -kInfinity, high = kInfinity;
};

// Integers in the order of the floats. Only -0 and +0 are two numbers for one value.
int32_t to_ordinal(float value) {
  const auto bits = std::bit_cast<int32_t>(value);
  return bits ^ (bits >> 31 & 0x7fffffff);
}
float from_ordinal(int32_t ordinal) { return std::bit_cast<float>(ordinal ^ (ordinal >> 31 & 0x7fffffff)); }

int64_t count_up_to(float limit, std::span<const float> scores) {
  int64_t count = 0;
  for (size_t start = 0; start < scores.size(); start += kCountAtOnce) {
    int32_t piece = 0;
    for (float score : scores.subspan(start, std::min(kCountAtOnce, scores.size() - start))) piece += score <= limit;
    count += piece;
  }
  return count;
}

// The value of the given rank (0 = smallest), known to lie in the bracket: at most 32 counting passes, which vectorise
// and, unlike partitioning, never mispredict a branch.
float bisect(std::span<const float> scores, int64_t rank, Bracket bracket) {
  int64_t low = to_ordinal(bracket.low), high = to_ordinal(bracket.high);
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (count_up_to(from_ordinal(static_cast<int32_t>(middle)), scores) > rank) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return from_ordinal(static_cast<int32_t>(low)) + 0.0f;  // -0 becomes 0
}

// Two values that hold the wanted rank between them with near certainty: the neighbours, 3 standard deviations away,
// of its place in a sample. Wrong brackets are noticed by the caller.
Bracket sample_bracket(std::span<const float> scores, int64_t rank) {
  const int64_t n = std::ssize(scores), stride = n / kSample;
  std::vector<float> sample(kSample);
  // One entry of each stretch, at a scattered place: a fixed stride would see only some columns of a matrix.
  for (int64_t i = 0; i < kSample; ++i) sample[i] = scores[i * stride + static_cast<int64_t>(i * 0x9e3779b1u % stride)];
  const double share = static_cast<double>(rank) / static_cast<double>(n);
  const auto margin = static_cast<int64_t>(3 * std::sqrt(kSample * share * (1 - share))) + 2;
  const int64_t low = rank * kSample / n - margin, high = rank * kSample / n + margin;
  return {low < 0 ? -kInfinity : bisect(sample, low, {}), high >= kSample ? kInfinity : bisect(sample, high, {})};
}

// The value of the given rank. One pass counts what lies below the bracket and collects what lies in it, about a
// seventh of the entries; only those are searched.
float value_at_rank(std::span<const float> scores, int64_t rank) {
  if (std::ssize(scores) < kSmall) return bisect(scores, rank, {});
  const Bracket bracket = sample_bracket(scores, rank);
  auto inside = std::make_unique_for_overwrite<float[]>(scores.size());
  int64_t below = 0, count = 0;
  for (float score : scores) {
    inside[count] = score;
    below += score < bracket.low;
    count += (score >= bracket.low) & (score <= bracket.high);
  }
  if (rank < below || rank >= below + count) return bisect(scores, rank, {});
  return bisect({inside.get(), static_cast<size_t>(count)}, rank - below, bracket);
}

uint32_t magnitude_bits(float weight) { return std::bit_cast<uint32_t>(weight) & 0x7fffffffu; }

// Calls use(bits of |w|, how often) for every entry that the limit lets take part.
template <typename Use>
void for_each_magnitude(std::span<const float> weights, const Cut* limit, Use use) {
  if (!limit) {
    for (float weight : weights) use(magnitude_bits(weight), 1);
    return;
  }
  for (float weight : weights) {
    if (std::fabs(weight) < limit->threshold) use(magnitude_bits(weight), 1);
  }
  if (limit->ties > 0) use(magnitude_bits(limit->threshold), limit->ties);
}

void keep_n_of_small_group(const float* scores, int64_t n, int64_t m, uint8_t* keep) {
  for (int64_t i = 0; i < m; ++i) {
    int64_t smaller = 0;
    for (int64_t j = 0; j < i; ++j) smaller += scores[j] <= scores[i];
    for (int64_t j = i + 1; j < m; ++j) smaller += scores[j] < scores[i];
    keep[i] &= smaller >= m - n;
  }
}

}  // namespace

int64_t removal_count(double share, int64_t n) {
  ESP_ASSERT(share >= 0 && share <= 1 && n >= 0, "share {}, n {}", share, n);
  return std::min(n, static_cast<int64_t>(std::floor(share * static_cast<double>(n) + 1e-9)));
}

void check_share(double share, const std::string& where) {
  if (!(share >= 0 && share < 1)) throw UserError(where, "sparsity", "a number in [0, 1)", fmt::format("{}", share));
}

int64_t round_half_even(double value) {
  const double floor = std::floor(value), rest = value - floor;
  const auto low = static_cast<int64_t>(floor);
  if (rest != 0.5) return low + (rest > 0.5);
  return low + (low & 1);
}

void check_no_nan(std::span<const float> scores, const std::string& name) {
  if (!has_nan(scores)) return;
  const auto found = std::find_if(scores.begin(), scores.end(), [](float score) { return score != score; });
  user_error("{}: the value at position {} of {} is NaN", name, found - scores.begin(), scores.size());
}

CutCount count_at(float threshold, std::span<const float> scores) {
  CutCount count;
  for (size_t start = 0; start < scores.size(); start += kCountAtOnce) {
    int32_t below = 0, equal = 0;
    for (float score : scores.subspan(start, std::min(kCountAtOnce, scores.size() - start))) {
      below += score < threshold;
      equal += score == threshold;
    }
    count.below += below;
    count.equal += equal;
  }
  return count;
}

Cut find_cut(std::span<const float> scores, int64_t k) {
  ESP_ASSERT(k >= 0 && k <= std::ssize(scores), "{} of {}", k, scores.size());
  ESP_ASSERT(!has_nan(scores));
  if (k == 0) return {};
  const float threshold = value_at_rank(scores, k - 1);
  return {threshold, k - count_at(threshold, scores).below};
}

int64_t apply_cut(Cut& cut, std::span<const float> scores, std::span<uint8_t> keep) {
  ESP_ASSERT(scores.size() == keep.size());
  const float threshold = cut.threshold;
  for (size_t i = 0; i < scores.size(); ++i) keep[i] &= scores[i] >= threshold;
  const auto [below, equal] = count_at(threshold, scores);
  const int64_t taken = std::min(equal, cut.ties);
  cut.ties -= taken;
  int64_t left = taken;
  for (size_t i = 0; left > 0; ++i) {
    if (scores[i] != threshold) continue;
    keep[i] = 0;
    --left;
  }
  return below + taken;
}

std::vector<uint8_t> keep_all_but_smallest(std::span<const float> scores, int64_t k) {
  std::vector<uint8_t> keep(scores.size(), 1);
  Cut cut = find_cut(scores, k);
  apply_cut(cut, scores, keep);
  return keep;
}

std::vector<int64_t> select_smallest(std::span<const float> scores, int64_t k) {
  const auto keep = keep_all_but_smallest(scores, k);
  std::vector<int64_t> chosen;
  chosen.reserve(k);
  for (size_t i = 0; i < keep.size(); ++i) {
    if (!keep[i]) chosen.push_back(static_cast<int64_t>(i));
  }
  return chosen;
}

std::vector<int64_t> select_largest(std::span<const float> scores, int64_t k) {
  std::vector<float> negated(scores.size());
  std::transform(scores.begin(), scores.end(), negated.begin(), [](float score) { return -score; });
  return select_smallest(negated, k);
}

namespace {
template <typename T>
std::vector<int64_t> stable_order(std::span<const T> scores) {
  ESP_ASSERT(std::none_of(scores.begin(), scores.end(), [](T score) { return std::isnan(score); }));
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] < scores[b]; });
  return order;
}
}  // namespace

std::vector<int64_t> ascending_order(std::span<const float> scores) { return stable_order(scores); }
std::vector<int64_t> ascending_order(std::span<const double> scores) { return stable_order(scores); }

void keep_n_of_m(std::span<const float> scores, int64_t n, int64_t m, std::span<uint8_t> keep) {
  ESP_ASSERT(m > 0 && n >= 0 && n <= m && std::ssize(scores) % m == 0 && scores.size() == keep.size());
  for (int64_t start = 0; start < std::ssize(scores); start += m) {
    if (m <= kQuadraticGroup) {
      keep_n_of_small_group(&scores[start], n, m, &keep[start]);
    } else {
      const auto group = scores.subspan(start, m);
      Cut cut = find_cut(group, m - n);
      apply_cut(cut, group, keep.subspan(start, m));
    }
  }
}

StreamingCut::StreamingCut() : upper_(1 << 15), lower_(1 << 16) {}

void StreamingCut::survey(std::span<const float> weights, const Cut* limit) {
  for_each_magnitude(weights, limit, [&](uint32_t bits, int64_t times) {
    upper_[bits >> 16] += times;
    surveyed_ += times;
  });
}

void StreamingCut::choose(int64_t k) {
  ESP_ASSERT(k >= 0 && k <= surveyed_, "{} of {}", k, surveyed_);
  wanted_ = k;
  if (k == 0) return;
  while (before_bucket_ + upper_[bucket_] < k) before_bucket_ += upper_[bucket_++];
}

void StreamingCut::refine(std::span<const float> weights, const Cut* limit) {
  for_each_magnitude(weights, limit, [&](uint32_t bits, int64_t times) {
    if (bits >> 16 == bucket_) lower_[bits & 0xffff] += times;
  });
}

Cut StreamingCut::cut() const {
  if (wanted_ == 0) return {};
  int64_t before = before_bucket_;
  uint32_t low = 0;
  while (before + lower_[low] < wanted_) {
    before += lower_[low++];
    ESP_ASSERT(low < lower_.size(), "refine() has not seen what survey() saw");
  }
  return {std::bit_cast<float>(bucket_ << 16 | low), wanted_ - before};
}

}  // namespace espalier
