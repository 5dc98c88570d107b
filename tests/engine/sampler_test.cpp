#include "espalier/engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace espalier {
namespace {

// Logits whose softmax is 0.4, 0.1, 0.3, 0.05, 0.15.
const std::vector<double> kShares = {0.4, 0.1, 0.3, 0.05, 0.15};

std::vector<float> logits_of(const std::vector<double>& shares) {
  std::vector<float> logits;
  for (const double share : shares) logits.push_back(static_cast<float>(std::log(share) + 3));
  return logits;
}

std::map<int32_t, double> frequencies(const SamplingOptions& options, const std::vector<double>& shares, int draws = 40000) {
  Sampler sampler(options, 7);
  std::map<int32_t, double> counts;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> logits = logits_of(shares);
    counts[sampler.choose(logits)] += 1.0 / draws;
  }
  return counts;
}

void expect_frequencies(const SamplingOptions& options, const std::map<int32_t, double>& expected) {
  const std::map<int32_t, double> found = frequencies(options, kShares);
  EXPECT_EQ(found.size(), expected.size());
  for (const auto& [id, share] : expected) {
    ASSERT_TRUE(found.contains(id)) << id;
    EXPECT_NEAR(found.at(id), share, 0.013) << id;  // five standard deviations
  }
}

TEST(Sampler, GreedyTakesTheFirstOfEquals) {
  Sampler sampler({}, 0);
  std::vector<float> logits = {1, 4, 4, std::numeric_limits<float>::quiet_NaN(), 2};
  EXPECT_EQ(sampler.choose(logits), 1);
}

TEST(Sampler, DrawsBySoftmaxOfTheLogits) {
  expect_frequencies({.temperature = 1}, {{0, 0.4}, {1, 0.1}, {2, 0.3}, {3, 0.05}, {4, 0.15}});
}

TEST(Sampler, TemperatureHalfSquaresTheShares) {  // 0.16, 0.01, 0.09, 0.0025, 0.0225 of 0.285
  expect_frequencies({.temperature = 0.5},
                     {{0, 0.16 / 0.285}, {1, 0.01 / 0.285}, {2, 0.09 / 0.285}, {3, 0.0025 / 0.285}, {4, 0.0225 / 0.285}});
}

TEST(Sampler, TopKKeepsTheMostProbable) {
  expect_frequencies({.temperature = 1, .top_k = 2}, {{0, 0.4 / 0.7}, {2, 0.3 / 0.7}});
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  expect_frequencies({.temperature = 1, .top_p = 0.65}, {{0, 0.4 / 0.7}, {2, 0.3 / 0.7}});
  expect_frequencies({.temperature = 1, .top_p = 0.71}, {{0, 0.4 / 0.85}, {2, 0.3 / 0.85}, {4, 0.15 / 0.85}});
  expect_frequencies({.temperature = 1, .top_p = 0}, {{0, 1}});
}

TEST(Sampler, TopPIsOfWhatTopKLeft) {  // 4/7 of the two that top-k keeps reaches 0.5
  expect_frequencies({.temperature = 1, .top_k = 2, .top_p = 0.5}, {{0, 1}});
}

TEST(Sampler, MinPIsAShareOfTheLargest) {  // 0.3 · 0.4 = 0.12
  expect_frequencies({.temperature = 1, .min_p = 0.3}, {{0, 0.4 / 0.85}, {2, 0.3 / 0.85}, {4, 0.15 / 0.85}});
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegative) {
  Sampler sampler({.repetition_penalty = 2}, 0);
  sampler.saw(0);
  sampler.saw(2);
  sampler.saw(2);  // once or twice is the same
  std::vector<float> logits = {3, 1, -1, -1.5};
  EXPECT_EQ(sampler.choose(logits), 0);
  EXPECT_EQ(logits, (std::vector<float>{1.5, 1, -2, -1.5}));
}

TEST(Sampler, FrequencyCountsAndPresenceDoesNot) {
  Sampler sampler({.frequency_penalty = 0.5, .presence_penalty = 0.25}, 0);
  for (const int32_t id : {1, 1, 1, 0}) sampler.saw(id);
  std::vector<float> logits = {1, 2, 0.5};
  EXPECT_EQ(sampler.choose(logits), 2);
  EXPECT_EQ(logits, (std::vector<float>{0.25, 0.25, 0.5}));
}

TEST(Sampler, IdsBeyondTheVocabularyAreNoMatter) {
  Sampler sampler({.repetition_penalty = 2}, 0);
  sampler.saw(1000);
  sampler.saw(-1);
  std::vector<float> logits = {1, 2};
  EXPECT_EQ(sampler.choose(logits), 1);
}

TEST(Sampler, ForbiddenAndInfiniteLogits) {
  const float inf = std::numeric_limits<float>::infinity();
  Sampler sampler({.temperature = 1}, 3);
  for (int i = 0; i < 100; ++i) {
    std::vector<float> logits = {-inf, 0, -inf, std::numeric_limits<float>::quiet_NaN()};
    EXPECT_EQ(sampler.choose(logits), 1);
    logits = {0, inf, 5};
    EXPECT_EQ(sampler.choose(logits), 1);
    logits = {-inf, -inf};
    EXPECT_EQ(sampler.choose(logits), 0);
  }
}

TEST(Sampler, SameSeedSameTokens) {
  const auto run = [](uint64_t seed) {
    Sampler sampler({.temperature = 1.5, .top_k = 4, .top_p = 0.95}, seed);
    std::vector<int32_t> ids;
    for (int i = 0; i < 50; ++i) {
      std::vector<float> logits = logits_of(kShares);
      ids.push_back(sampler.choose(logits));
    }
    return ids;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

}  // namespace
}  // namespace espalier
