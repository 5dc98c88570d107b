// The expected numbers were computed by an independent implementation in Python.
#include "espalier/core/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

namespace espalier {
namespace {

TEST(Rng, MatchesThePublishedSequence) {
  Rng rng(Rng::State{1, 2, 3, 4});  // the test vector of xoshiro256**
  const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240, 1216172134540287360, 607988272756665600};
  for (uint64_t value : expected) EXPECT_EQ(rng.next(), value);
}

TEST(Rng, SeedAndNameGiveTheSameStreamForEver) {
  Rng rng(0, "calibration");
  const uint64_t expected[] = {0xecd6b2fe7d932aff, 0xefc069b33b6acce7, 0xe0e4d6fecd17bb0e, 0x41b3ab2cd2dd7805};
  for (uint64_t value : expected) EXPECT_EQ(rng.next(), value);
}

TEST(Rng, NamesAndSeedsSeparateStreams) {
  std::set<uint64_t> firsts;
  for (uint64_t seed = 0; seed < 50; ++seed)
    for (const char* name : {"", "a", "b", "ab", "ba"}) firsts.insert(Rng(seed, name).next());
  EXPECT_EQ(firsts.size(), 250u);
}

TEST(Rng, NormalMatchesReference) {
  Rng rng(42, "weights");
  for (double value : {-1.3650293434169443, -0.45674468876638735, -0.19540691255739961, 0.9305129309116787})
    EXPECT_NEAR(rng.normal(), value, 1e-14);
}

TEST(Rng, NormalHasTheRightMoments) {
  Rng rng(1, "moments");
  const int n = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / n, 0, 0.01);
  EXPECT_NEAR(squares / n, 1, 0.02);
  EXPECT_NEAR(fourth / n, 3, 0.15);
}

TEST(Rng, BelowMatchesReferenceAndIsUniform) {
  Rng rng(7, "order");
  for (uint64_t value : {6, 0, 3, 2, 3, 1, 4, 3, 2, 8, 5, 2}) EXPECT_EQ(rng.below(10), value);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[rng.below(7)];
  for (int count : counts) EXPECT_NEAR(count, 10000, 400);  // four standard deviations
}

TEST(Rng, ShuffleMatchesReference) {
  Rng rng(7, "order");
  std::vector<int> items(8);
  std::iota(items.begin(), items.end(), 0);
  rng.shuffle(items);
  EXPECT_EQ(items, (std::vector<int>{3, 2, 6, 7, 5, 1, 0, 4}));
}

TEST(Rng, SampleMatchesReferenceAndHasNoRepeats) {
  Rng rng(7, "order");
  EXPECT_EQ(rng.sample(100, 6), (std::vector<int64_t>{61, 1, 34, 29, 33, 20}));
  const auto all = rng.sample(1000, 1000);
  EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), 1000u);
  EXPECT_EQ(*std::max_element(all.begin(), all.end()), 999);
  EXPECT_EQ(rng.sample(int64_t{1} << 60, 3).size(), 3u);  // no table of n entries
  EXPECT_TRUE(rng.sample(0, 0).empty());
}

TEST(Rng, StateResumesTheStream) {
  Rng rng(3, "resume");
  for (int i = 0; i < 5; ++i) rng.normal();
  Rng copy(rng.state());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(rng.normal(), copy.normal());
}

TEST(Rng, PortableLogAgreesWithLibm) {
  for (double x :
       {1e-300, 1e-10, 0.1, 0.49999, 0.7, 0.7072, 0.99999999, 1.0, 1.0000001, 2.0, 2.718281828459045, 1e10, 1e300}) {
    const double expected = std::log(x);
    EXPECT_NEAR(portable_log(x), expected, 4e-16 * std::abs(expected)) << x;
  }
}

}  // namespace
}  // namespace espalier
