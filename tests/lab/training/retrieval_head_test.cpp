// Distilling a retrieval head, and what choices capture of a model's attention.
#include "espalier/lab/training/retrieval_head.h"

#include <gtest/gtest.h>

#include <numeric>

#include "espalier/engine/text_quality.h"
#include "tests/support.h"

namespace espalier::retrieval_head_test {
namespace {

const Model& tiny() {
  static const Model model = load_model(test::assets_dir() / "models/espalier-tiny");
  return model;
}

std::vector<int32_t> text() { return tokens_of(test::assets_dir() / "data/calibration.txt", tiny(), 4000); }

struct Distilled {
  RetrievalWeights weights;
  std::vector<double> divergences;
};

Distilled distil(RetrievalTraining options) {
  options.batch = 4, options.length = 64, options.report_every = 1;
  Distilled d;
  d.weights = train_retrieval_head(tiny(), text(), options, [&](const RetrievalReport& report) { d.divergences.push_back(report.divergence); });
  return d;
}

TEST(RetrievalHeadTraining, TheDivergenceFallsAndTheModelStays) {
  RetrievalTraining options;
  options.steps = 16, options.lr = 3e-3;
  const std::vector<float> before = weights_of(tiny(), tiny().graph).q.to_floats();
  const Distilled one = distil(options);
  ASSERT_EQ(one.divergences.size(), 16u);
  EXPECT_LT(std::accumulate(one.divergences.end() - 4, one.divergences.end(), 0.0) / 4, 0.8 * one.divergences.front());
  EXPECT_EQ(weights_of(tiny(), tiny().graph).q.to_floats(), before);
  EXPECT_NE(one.weights.q.to_floats(), before);
  EXPECT_EQ(one.weights.q.dtype(), weights_of(tiny(), tiny().graph).q.dtype());
  EXPECT_EQ(one.weights.trained, 64);
  EXPECT_EQ(distil(options).weights.k.to_floats(), one.weights.k.to_floats()) << "the same seed gives the same";
}

TEST(RetrievalHeadTraining, NoRateLeavesTheFirstLayer) {
  RetrievalTraining options;
  options.steps = 1, options.lr = 0;
  const RetrievalWeights own = weights_of(tiny(), tiny().graph), same = distil(options).weights;
  EXPECT_EQ(same.q.to_floats(), own.q.to_floats());
  EXPECT_EQ(same.k.to_floats(), own.k.to_floats());
}

TEST(CapturedAttention, OfAllTokensIsOne) {
  std::vector<int32_t> ids = text();
  ids.resize(96);
  const std::vector<int64_t> positions = {40, 95};
  const auto last = [](int64_t count) {
    return [=](int64_t, int64_t i) {
      std::vector<int32_t> list;
      for (int64_t j = std::max<int64_t>(0, i - count); j < i; ++j) list.push_back(static_cast<int32_t>(j));
      return list;
    };
  };
  const auto whole = [](int64_t i) { return i; };
  const auto quarter = [](int64_t i) { return i / 4; };
  const RetrievalWeights own = weights_of(tiny(), tiny().graph);
  const AttentionLayer layer = first_attention(tiny());
  const auto found = captured_attention(tiny(), ids, positions,
                                        {last(1000), last(0), last(10), last(20), retrieval_choice(own, layer, ids, positions, whole),
                                         retrieval_choice(own, layer, ids, positions, quarter)});
  EXPECT_NEAR(found[0], 1, 1e-5);
  EXPECT_EQ(found[1], 0);
  EXPECT_GT(found[3], found[2]);
  EXPECT_NEAR(found[4], 1, 1e-5);
  EXPECT_GT(found[5], 0);
  EXPECT_LT(found[5], 1);
}

}  // namespace
}  // namespace espalier::retrieval_head_test
