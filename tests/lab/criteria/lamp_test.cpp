#include "espalier/lab/criteria/lamp.h"

#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

TEST(Lamp, DividesByWhatIsAtLeastAsLarge) {
  const at::Tensor w = at::tensor({3.0, -1.0, 2.0, 5.0}), mask = at::tensor({1, 1, 1, 0}, at::kInt).to(at::kBool);
  const at::Tensor scores = lamp_scores(w, mask);
  EXPECT_NEAR(scores[0].item<double>(), 1, 1e-12);  // the largest alive weight: 9 / 9
  EXPECT_NEAR(scores[1].item<double>(), 1.0 / 14, 1e-12);
  EXPECT_NEAR(scores[2].item<double>(), 4.0 / 13, 1e-12);
  EXPECT_EQ(scores[3].item<double>(), 0);
}

TEST(Lamp, KeepsTheOrderOfALayer) {
  at::manual_seed(1);
  const at::Tensor w = at::randn({40, 30}), scores = lamp_scores(w, at::ones(w.sizes(), at::kBool));
  EXPECT_TRUE(at::equal(at::argsort(w.flatten().to(at::kDouble).abs()), at::argsort(scores.flatten())));
}

TEST(Lamp, HasNoScoreForZeros) { EXPECT_EQ(lamp_scores(at::zeros({5}), at::ones({5}, at::kBool)).sum().item<double>(), 0); }

}  // namespace
}  // namespace espalier
