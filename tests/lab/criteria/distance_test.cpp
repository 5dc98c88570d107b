#include "espalier/lab/measure/distance.h"

#include <cmath>

#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

const Metric kAll[] = {Metric::kNorm, Metric::kAngular, Metric::kKl, Metric::kJs, Metric::kJsCode};

at::Tensor logits(uint64_t seed, int64_t vocabulary = 11) {
  at::manual_seed(seed);
  return at::randn({3, 5, vocabulary}) * 3;
}

TEST(Distance, IdenticalLogitsAreAtDistanceZero) {
  const auto z = logits(1);
  for (const Metric metric : kAll) EXPECT_NEAR(distance(metric, z, z), 0, 3e-8) << metric_name(metric);
}

TEST(Distance, DivergencesIgnoreAShiftOfTheLogits) {
  const auto a = logits(2), b = logits(3);
  for (const Metric metric : {Metric::kKl, Metric::kJs, Metric::kJsCode}) {
    EXPECT_NEAR(distance(metric, a + 5, b - 2), distance(metric, a, b), 1e-6);
  }
}

TEST(Distance, JensenShannonIsSymmetricAndAtMostLogTwo) {
  const auto a = logits(4), b = logits(5);
  EXPECT_NEAR(distance(Metric::kJs, a, b), distance(Metric::kJs, b, a), 1e-12);
  auto left = at::zeros({1, 1, 2}), right = at::zeros({1, 1, 2});
  left[0][0][0] = 500;
  right[0][0][1] = 500;
  EXPECT_NEAR(distance(Metric::kJs, left, right), std::log(2.0), 1e-12);
}

TEST(Distance, MaskedTokensDoNotMakeNan) {
  auto a = logits(6), b = logits(7);
  a.select(2, 0).fill_(-std::numeric_limits<float>::infinity());
  b.select(2, 0).fill_(-std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isfinite(distance(Metric::kKl, a, b)));
  EXPECT_TRUE(std::isfinite(distance(Metric::kJs, a, b)));
}

TEST(Distance, NanLogitsGiveNan) {
  auto b = logits(8);
  b[1][2][3] = std::nan("");
  for (const Metric metric : kAll) EXPECT_TRUE(std::isnan(distance(metric, logits(9), b))) << metric_name(metric);
}

TEST(Distance, LargeVocabulariesInPiecesAddUp) {
  const auto a = logits(10, 60000), b = logits(11, 60000);  // a piece holds four positions
  const auto log_p = b.to(at::kDouble).log_softmax(-1), log_p0 = a.to(at::kDouble).log_softmax(-1);
  const double kl = (log_p0.exp() * (log_p0 - log_p)).sum(-1).mean().item<double>();
  EXPECT_NEAR(distance(Metric::kKl, a, b), kl, 1e-10 * kl);
}

TEST(Distance, RunningSumIsALowerBound) {
  const auto a = logits(12), b = logits(13);
  for (const Metric metric : kAll) {
    const int64_t terms = metric == Metric::kNorm ? 3 : 15;
    Distance running(metric);
    double before = 0;
    for (int64_t s = 0; s < 3; ++s) {
      running.add(a[s], b[s]);
      EXPECT_GE(running.lower_bound(terms), before);
      before = running.lower_bound(terms);
    }
    EXPECT_DOUBLE_EQ(running.value(), before) << metric_name(metric);
  }
}

TEST(Distance, PerplexityOfUniformLogitsIsTheVocabulary) {
  Distance perplexity(Metric::kPerplexity);
  perplexity.add_tokens(at::zeros({4, 50}), at::tensor(std::vector<int64_t>{1, 2, 3, 4}, at::kLong));
  perplexity.add_tokens(at::zeros({1, 50}), at::tensor(std::vector<int64_t>{7}, at::kLong));
  EXPECT_NEAR(perplexity.value(), 50, 1e-9);
  ESP_EXPECT_USER_ERROR(Distance(Metric::kJs).value(), "js: the calibration set is empty");
}

TEST(Distance, UnknownMetricsListTheKnown) {
  EXPECT_EQ(metric_from_name("js-code"), Metric::kJsCode);
  ESP_EXPECT_USER_ERROR(metric_from_name("jscode"), "did you mean 'js-code'");
}

}  // namespace
}  // namespace espalier
