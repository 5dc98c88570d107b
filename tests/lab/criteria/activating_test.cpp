#include "espalier/lab/criteria/activating.h"

#include "espalier/lab/torch.h"
#include "tests/lab/criteria/small_tensors.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::flags, test::numbers;

struct Removal {
  int64_t count;
  at::Tensor mask;
};

Removal remove(const ActivatingChoice& choice, int64_t count, uint64_t seed = 0) {
  Rng rng(seed, "test");
  const at::Tensor mask = flags({1, 1, 0, 1, 1, 1});
  // moved by 1, 3, 0, 2, 0.5, 0.25
  const int64_t removed = remove_holding_down({numbers({-2, -1, -1, -4, 0.5, 3})}, {numbers({-1, 2, -1, -6, 0, 2.75})}, {mask}, count, choice, rng, "w");
  return {removed, mask};
}

TEST(Activating, TakesNegativeWeightsThatHardlyMoved) {
  const Removal removal = remove({}, 2);
  EXPECT_EQ(removal.count, 2);
  EXPECT_TRUE(at::equal(removal.mask, flags({0, 1, 0, 0, 1, 1})));
}

TEST(Activating, SaysWhenThereAreNotEnough) {
  const Removal removal = remove({}, 9);
  EXPECT_EQ(removal.count, 3);
  EXPECT_TRUE(at::equal(removal.mask, flags({0, 0, 0, 0, 1, 1})));
}

TEST(Activating, HasOtherSignsAndMetrics) {
  EXPECT_TRUE(at::equal(remove({.sign = ActivatingSign::kAny}, 2).mask, flags({1, 1, 0, 1, 0, 0})));
  EXPECT_TRUE(at::equal(remove({.metric = ActivatingMetric::kMagnitude}, 1).mask, flags({1, 0, 0, 1, 1, 1})));
  const ActivatingChoice random{.metric = ActivatingMetric::kRandom};
  EXPECT_TRUE(at::equal(remove(random, 2, 7).mask, remove(random, 2, 7).mask));
  EXPECT_EQ(remove(random, 2, 7).mask.sum().item<int64_t>(), 3);
  EXPECT_THROW(activating_sign("option sign", "positive"), UserError);
  EXPECT_THROW(activating_metric("option metric", "size"), UserError);
}

TEST(Activating, CountsPercentExactly) {
  EXPECT_EQ(percent_of(78, 18), 14);
  EXPECT_EQ(percent_of(78, 2), 1);
  EXPECT_EQ(percent_of(100, 29), 29);  // 0.29 · 100 is 28.999999999999996
}

}  // namespace
}  // namespace espalier
