#include "espalier/lab/training/retrieval_mix.h"

#include <algorithm>

#include "espalier/engine/text_quality.h"
#include "espalier/families/family.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

RetrievalMix mix(uint64_t seed) {
  const Model model = load_model(test::assets_dir() / "models/espalier-tiny");
  return {Tokenizer::load(model.path), tokens_of(test::assets_dir() / "data/calibration.txt", model, 20000), seed};
}

// What may be fetched stands before its place in the row, and what precedes it there too, but for an answer's first
// token, which needs its question.
TEST(RetrievalMix, EveryLabelToFetchStandsEarlierInItsRow) {
  RetrievalMix maker = mix(1);
  for (const int64_t length : {32, 64, 256}) {
    const RetrievalBatch batch = maker.next(8, length);
    ASSERT_EQ(batch.ids.sizes(), (std::vector<int64_t>{8, length + 1}));
    ASSERT_EQ(batch.weights.sizes(), (std::vector<int64_t>{8, length}));
    int64_t fetched = 0;
    for (int64_t b = 0; b < 8; ++b) {
      const int64_t* ids = batch.ids[b].data_ptr<int64_t>();
      for (int64_t t = 1; t <= length; ++t) {
        if (!batch.fetch[b][t - 1].item<bool>()) continue;
        ++fetched;
        EXPECT_NE(std::find(ids, ids + t, ids[t]), ids + t) << length << " row " << b << " place " << t;
        EXPECT_GT(batch.weights[b][t - 1].item<float>(), 0);
      }
      const double weight = 8 * batch.weights[b].sum().item<double>();  // 1 for the text, 1 for what is fetched
      EXPECT_TRUE(std::abs(weight - 1) < 1e-5 || std::abs(weight - 2) < 1e-5) << weight;
    }
    EXPECT_GT(fetched, 8);
  }
}

TEST(RetrievalMix, TheSameSeedGivesTheSameRows) {
  EXPECT_TRUE(mix(4).next(4, 128).ids.equal(mix(4).next(4, 128).ids));
  EXPECT_FALSE(mix(4).next(4, 128).ids.equal(mix(5).next(4, 128).ids));
}

}  // namespace
}  // namespace espalier
