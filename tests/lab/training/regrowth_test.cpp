#include "espalier/lab/training/regrowth.h"

#include "espalier/core/rng.h"
#include "espalier/lab/criteria/alive_ranking.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor flags(const std::vector<int>& values) { return at::tensor(values, at::kInt).to(at::kBool); }
at::Tensor numbers(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

TEST(Regrowth, SwapsTheSmallestForTheSteepest) {
  const at::Tensor mask = flags({1, 1, 0, 1, 0, 1});
  // rate 0.3 of 4 alive: 2 die, positions 1 and 5; of the dead 1, 2, 4, 5 the steepest grow.
  const Swap swap = swap_weights(numbers({3, -1, 9, 2, 0, 1}), mask, numbers({9, 5, 1, 9, 7, 2}), 0.3, "w");
  EXPECT_EQ(swap.count, 2);
  EXPECT_TRUE(at::equal(swap.died, flags({0, 1, 0, 0, 0, 1})));
  EXPECT_TRUE(at::equal(swap.grown, flags({0, 1, 0, 0, 1, 0})));  // one of them back at once
  EXPECT_TRUE(at::equal(mask, flags({1, 1, 0, 1, 1, 0})));
}

TEST(Regrowth, LeavesAnEmptyLayerAlone) {
  const at::Tensor mask = flags({0, 0, 0});
  EXPECT_EQ(swap_weights(numbers({1, 2, 3}), mask, numbers({1, 2, 3}), 0.5, "w").count, 0);
  EXPECT_FALSE(mask.any().item<bool>());
}

TEST(Regrowth, NeverChangesHowManyAreAlive) {
  at::manual_seed(1);
  Rng rng(1, "test");
  const at::Tensor weight = (at::randn({40, 30}) * 3).round(), growth = (at::randn({40, 30}) * 3).round().abs();
  for (const int64_t alive : {0, 1, 17, 600, 1199, 1200}) {
    for (const double rate : {0.0, 0.01, 0.5, 1.0}) {
      const at::Tensor mask = random_keep({40, 30}, alive, rng);
      const Swap swap = swap_weights(weight, mask, growth, rate, "w");
      EXPECT_EQ(mask.sum().item<int64_t>(), alive);
      EXPECT_EQ(swap.count, share_of(rate, alive));
      EXPECT_EQ(swap.grown.sum().item<int64_t>(), swap.count);
    }
  }
}

}  // namespace
}  // namespace espalier
