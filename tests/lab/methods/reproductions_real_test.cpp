#include <algorithm>
#include <cstdlib>

#include "espalier/lab/methods/policy_reproduction.h"
#include "tests/lab/methods/embedded.h"

namespace espalier::test {
namespace {

class Reproductions : public ::testing::TestWithParam<const Method*> {};

// The catalogue says "works" only of methods whose effect shows on the embedded model.
TEST_P(Reproductions, SayWhatTheCatalogueSays) {
  const Method& method = *GetParam();
  ASSERT_TRUE(method.reproduce);
  // Several seeds of several trainings take minutes a method; the verdicts' margins are a few pictures there, so another
  // processor's rounding can turn a narrow one.
  const bool trains = std::count(method.needs.begin(), method.needs.end(), "training") > 0;
  if (trains && !std::getenv("ESPALIER_TEST_TRAININGS")) GTEST_SKIP() << method.id << " trains for minutes: ESPALIER_TEST_TRAININGS=1 runs it";
  ReproduceContext context = embedded_context(0);
  const Reproduction found = method.reproduce(context);
  EXPECT_EQ(found.shows, method.reproduces) << found.claim << ": " << found.ours;
}

TEST(PolicyReproductions, SayWhatTheCatalogueSays) {
  for (const auto* policy : registered_policy_reproductions()) {
    ReproduceContext context = embedded_context(0);
    const Reproduction found = policy->reproduce(context);
    EXPECT_EQ(found.shows, policy->reproduces) << policy->id << ": " << found.ours;
    EXPECT_EQ(catalogue_entry(policy->id).at("status"), policy->reproduces ? "works" : "runs");
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, Reproductions, ::testing::ValuesIn(registered_methods()), [](const auto& info) {
  std::string name = info.param->id;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace espalier::test
