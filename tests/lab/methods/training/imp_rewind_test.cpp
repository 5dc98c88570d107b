#include "espalier/lab/criteria/alive_ranking.h"
#include "tests/lab/methods/training/plugin_trial.h"

namespace espalier {
namespace {

using test::PluginTrial;

constexpr int64_t kTotal = 108 + 180 + 15;
constexpr const char* kId = "18-imp-rewind";

std::vector<Json> rows_of(const Json& findings, const std::string& arm) {
  std::vector<Json> rows;
  for (const Json& row : findings.at("rounds"))
    if (row.at("arm") == arm && row.at("order") == 0) rows.push_back(row);
  return rows;
}

TEST(ImpRewind, RemovesAFifthOfWhatIsLeftInEveryRound) {
  PluginTrial trial(kId, {{"rounds", "10"}, {"rewind", "2"}});
  trial.run();
  const auto rows = rows_of(trial.findings, "rewind");
  ASSERT_EQ(rows.size(), 11u);
  int64_t left = kTotal;
  for (const Json& row : rows) {
    EXPECT_EQ(row.at("remaining"), left);
    left -= (left + 4) / 5;  // a fifth, rounded up
  }
  EXPECT_EQ(trial.result.steps_run, PluginTrial::kSteps + 10 * (PluginTrial::kSteps - 2));
  int64_t alive = 0;
  for (const auto& [name, mask] : trial.result.masks) alive += mask.sum().item<int64_t>();
  EXPECT_EQ(alive, rows.back().at("remaining").get<int64_t>());
}

// With nothing but one weight gone a round must come out like the dense training, and exactly so when it is rewound to the
// last step: the state there is what an uninterrupted run has.
TEST(ImpRewind, GoesOnFromAStepAsTheUninterruptedRunDoes) {
  PluginTrial whole("static-sparse", {}, 0.0);  // dense
  whole.run();
  PluginTrial trial(kId, {{"rounds", "1"}, {"rewind", "19"}, {"prune_fraction", "0.001"}});
  trial.run();
  int64_t removed = 0;
  for (const auto& [name, mask] : trial.result.masks) {
    removed += mask.logical_not().sum().item<int64_t>();
    EXPECT_LT((trial.weight(name) - whole.weight(name) * mask).abs().max().item<float>(), 0.02) << name;
  }
  EXPECT_EQ(removed, 1);
}

TEST(ImpRewind, StopsExactlyAtATarget) {
  for (const char* scope : {"global", "layerwise"}) {
    PluginTrial trial(kId, {{"rewind", "2"}, {"prune_fraction", "0.4"}, {"scope", scope}}, 0.7);
    trial.run();
    int64_t alive = 0;
    for (const auto& [name, mask] : trial.result.masks) alive += mask.sum().item<int64_t>();
    // floor(0.7 n) of the 303 together go, or of 108, 180 and 15.
    EXPECT_EQ(alive, scope == std::string("global") ? kTotal - 212 : kTotal - 75 - 126 - 10) << scope;
  }
}

TEST(ImpRewind, TrainsControlsUnderTheSameCounts) {
  PluginTrial trial(kId, {{"rounds", "2"}, {"rewind", "3"}, {"controls", "random_reinit,random_mask,rewind0,finetune"}, {"data_orders", "true"}});
  trial.run();
  for (const char* arm : {"rewind", "random_mask", "rewind0"}) {
    const auto rows = rows_of(trial.findings, arm);
    ASSERT_EQ(rows.size(), arm == std::string("rewind") ? 3u : 2u) << arm;
    for (const char* value : {"pruning_l2", "pruning_angle", "order_l2", "order_angle"}) EXPECT_GT(rows.back().at(value).get<double>(), 0) << arm << " " << value;
  }
  for (const char* arm : {"random_reinit", "finetune"}) EXPECT_EQ(rows_of(trial.findings, arm).size(), 2u) << arm;
  // The result is the ticket: trained last, in the run's own order.
  EXPECT_EQ(trial.findings.at("rounds").back().at("arm"), "rewind");
  EXPECT_EQ(trial.findings.at("rounds").back().at("order"), 0);
}

TEST(ImpRewind, GoesOnWithTheWeightsWhenItIsRewoundToTheEnd) {
  PluginTrial trial(kId, {{"rounds", "2"}, {"rewind", "1.0"}});
  trial.run();
  EXPECT_EQ(trial.result.steps_run, 3 * PluginTrial::kSteps);
  EXPECT_LT(rows_of(trial.findings, "rewind").back().at("loss").get<double>(), rows_of(trial.findings, "rewind").front().at("loss").get<double>());
}

TEST(ImpRewind, IsResumable) {
  PluginTrial(kId, {{"rounds", "2"}, {"rewind", "0.1"}, {"controls", "random_mask,finetune"}, {"data_orders", "true"}}).expect_resumable({1, 95});
}

TEST(ImpRewind, RefusesWhatHasNoMeaning) {
  const auto refused = [](const std::string& option, const std::string& value) {
    EXPECT_THROW(PluginTrial(kId, {{option, value}}).make(), UserError) << option << " " << value;
  };
  refused("rewind", "21");
  refused("rewind", "5ep");
  refused("rewind", "soon");
  refused("prune_fraction", "0");
  refused("prune_fraction", "1");
  refused("rounds", "0");
  refused("target_sparsity", "1");
  refused("scope", "row");
  refused("controls", "dense");
}

}  // namespace
}  // namespace espalier
