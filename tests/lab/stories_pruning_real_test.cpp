// What a method has to achieve on a trained model: lose less than chance does at the same budget. Every seed is
// compared, not only their mean.
#include <gtest/gtest.h>

#include "tests/lab/stories.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

constexpr uint64_t kSeeds = 3;

using Options = std::map<std::string, std::string>;

double perplexity(const ReproduceContext::Arm& arm) { return arm.quality.perplexity.value; }

void expect_better_than_chance(const ReproduceContext& context, const std::string& method, double sparsity,
                               const Options& chance) {
  const double dense = context.dense().perplexity.value;
  const auto chosen = context.run(method, sparsity);
  std::printf("%s at %.2f: dense %.3f, chosen %.3f (%ld weights, %.4f removed), random", method.c_str(), sparsity,
              dense, perplexity(chosen), static_cast<long>(chosen.params), chosen.reached);
  EXPECT_GT(perplexity(chosen), dense);
  double sum = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const auto random = context.run(method, sparsity, chance, seed);
    std::printf(" %.3f", perplexity(random));
    EXPECT_LT(perplexity(chosen), perplexity(random)) << "seed " << seed;
    EXPECT_NEAR(chosen.reached, random.reached, 1e-9) << "the budgets differ";
    sum += perplexity(random);
  }
  std::printf(", mean %.3f\n", sum / kSeeds);
}

class StoriesPruning : public ::testing::Test {
 protected:
  TempDir dir_;
};

TEST_F(StoriesPruning, AmpBeatsRandomUnits) {
  ESP_NEED_SHARED(model, "data/llama2c-stories260K/hf");
  ESP_NEED_SHARED(text, "data/text/tinystories-sample/tinystories_val.txt");
  expect_better_than_chance(stories_context(model, text, dir_.path()), "03-amp", 0.2, {{"criterion", "random"}});
}

TEST_F(StoriesPruning, FinerCutBeatsRandomSubLayers) {
  ESP_NEED_SHARED(model, "data/llama2c-stories260K/hf");
  ESP_NEED_SHARED(text, "data/text/tinystories-sample/tinystories_val.txt");
  expect_better_than_chance(stories_context(model, text, dir_.path()), "26-finercut", 0.25, {{"search", "random"}});
}

}  // namespace
}  // namespace espalier::test
