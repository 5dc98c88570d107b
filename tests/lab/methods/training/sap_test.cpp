#include "tests/lab/methods/training/plugin_trial.h"

namespace espalier::sap_test {
namespace {

using test::PluginTrial;

constexpr const char* kId = "42-pq-index-sap";

TEST(Sap, RemovesWhatItsIndicesSay) {
  PluginTrial trial(kId, {{"rounds", "3"}});
  trial.run();
  const auto& rounds = trial.findings.at("rounds");
  ASSERT_EQ(rounds.size(), 4u);
  for (size_t r = 0; r < 3; ++r) {
    int64_t removed = 0;
    for (const Json& group : rounds[r].at("groups")) {
      const auto alive = group.at("alive").get<int64_t>(), retain = group.at("retain").get<int64_t>();
      EXPECT_EQ(group.at("removed").get<int64_t>(), std::min<int64_t>(alive - retain, static_cast<int64_t>(0.9 * static_cast<double>(alive))));
      removed += group.at("removed").get<int64_t>();
    }
    EXPECT_EQ(rounds[r].at("removed"), removed);
    EXPECT_EQ(rounds[r + 1].at("remaining").get<int64_t>(), rounds[r].at("remaining").get<int64_t>() - removed);
    EXPECT_TRUE(rounds[r].at("pruned").contains("accuracy"));
  }
  EXPECT_EQ(trial.result.steps_run, 4 * PluginTrial::kSteps);
}

TEST(Sap, StopsWhereNothingMayGo) {
  PluginTrial trial(kId, {{"rounds", "30"}, {"gamma", "0.01"}});
  trial.run();
  EXPECT_EQ(trial.findings.at("rounds").size(), 1u);
  EXPECT_EQ(trial.findings.at("stopped"), "no group may lose a weight any more");
}

TEST(Sap, HasControlsOfAFixedShare) {
  for (const char* mode : {"lt", "os"}) {
    PluginTrial trial(kId, {{"rounds", "2"}, {"mode", mode}, {"fixed_rate", "0.5"}});
    trial.run();
    EXPECT_EQ(trial.findings.at("rounds").back().at("remaining"), 303 - 151 - 76) << mode;
  }
}

TEST(Sap, KeepsTheBestOfARoundOrTheLast) {
  PluginTrial best(kId, {{"rounds", "1"}}), last(kId, {{"rounds", "1"}, {"checkpoint", "last"}});
  for (PluginTrial* trial : {&best, &last}) {
    trial->training.learning_rate = 1.5;  // jumps about
    trial->run();
  }
  double highest = 0;
  for (const Metric& metric : best.result.metrics)
    if (metric.name == "accuracy" && metric.step <= PluginTrial::kSteps) highest = std::max(highest, metric.value);
  EXPECT_EQ(best.findings.at("rounds")[0].at("trained").at("accuracy"), highest);
  EXPECT_LE(last.findings.at("rounds")[0].at("trained").at("accuracy").get<double>(), highest);
}

TEST(Sap, IsResumable) {
  PluginTrial(kId, {{"rounds", "2"}, {"scope", "neuron"}}).expect_resumable({2, 33, 58});
}

TEST(Sap, RefusesWhatHasNoMeaning) {
  const auto refused = [](const std::string& option, const std::string& value) {
    EXPECT_THROW(PluginTrial(kId, {{option, value}}).make(), UserError) << option << " " << value;
  };
  refused("p", "1");
  refused("p", "0");
  refused("q", "0.5");
  refused("beta", "0");
  refused("beta", "1.5");
  refused("gamma", "0");
  refused("eta_r", "-1");
  refused("scope", "filter");
  refused("mode", "all");
  refused("fixed_rate", "1");
  EXPECT_THROW(PluginTrial(kId, {}, 0.5).make(), UserError);
}

}  // namespace
}  // namespace espalier::sap_test
