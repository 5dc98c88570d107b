#include "tests/lab/methods/training/plugin_trial.h"

namespace espalier::activating_plugin_test {
namespace {

using test::PluginTrial;

constexpr const char* kId = "41-activating-while-pruning";

TEST(ActivatingWhilePruning, RemovesTheSameShareWithAndWithoutAp) {
  for (const char* base : {"magnitude", "gradient", "lamp", "random"}) {
    for (const char* ap : {"0", "5"}) {
      PluginTrial trial(kId, {{"rounds", "4"}, {"prune_percent", "25"}, {"ap_percent", ap}, {"base", base}});
      trial.run();
      const auto& rounds = trial.findings.at("rounds");
      ASSERT_EQ(rounds.size(), 5u);
      for (size_t r = 0; r < 4; ++r) {
        const auto before = rounds[r].at("remaining").get<double>(), after = rounds[r + 1].at("remaining").get<double>();
        EXPECT_NEAR(before - after, 0.25 * before, 2 + rounds[r].at("shortfall").get<double>()) << base << " " << ap;
        EXPECT_EQ(rounds[r].at("removed_ap").get<int64_t>() > 0, ap == std::string("5"));
      }
    }
  }
}

TEST(ActivatingWhilePruning, CountsDeadUnits) {
  PluginTrial trial(kId, {{"rounds", "1"}});
  trial.run();
  for (const Json& row : trial.findings.at("rounds")) {
    EXPECT_EQ(row.at("dead_layers").size(), 2u);
    EXPECT_GT(row.at("dead").get<double>(), 0);
    EXPECT_LT(row.at("dead").get<double>(), 1);
    EXPECT_DOUBLE_EQ(row.at("dead").get<double>(), row.at("dead_static").get<double>() + row.at("dead_dynamic").get<double>());
  }
}

TEST(ActivatingWhilePruning, IsResumable) {
  PluginTrial(kId, {{"rounds", "2"}, {"prune_percent", "40"}, {"ap_percent", "4"}, {"metric", "random"}}).expect_resumable({3, 25, 50});
}

TEST(ActivatingWhilePruning, RefusesWhatHasNoMeaning) {
  const auto refused = [](const std::string& option, const std::string& value) {
    EXPECT_THROW(PluginTrial(kId, {{option, value}}).make(), UserError) << option << " " << value;
  };
  refused("ap_percent", "20");
  refused("ap_percent", "-1");
  refused("prune_percent", "100");
  refused("rounds", "-1");
  refused("base", "best");
  refused("sign", "positive");
  refused("metric", "luck");
  refused("dnr_samples", "-5");
  PluginTrial smooth(kId, {});
  for (auto& node : smooth.model.graph.nodes)
    if (node.op == "Activation") node.attributes["kind"] = std::string("tanh");
  EXPECT_THROW(smooth.run(), UserError);
}

}  // namespace
}  // namespace espalier::activating_plugin_test
