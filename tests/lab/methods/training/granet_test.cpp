#include "espalier/lab/methods/training/granet_schedule.h"
#include "tests/lab/methods/training/plugin_trial.h"

namespace espalier::granet_test {
namespace {

using test::PluginTrial;

// The small classifier's weights: 4·27, 5·36 and 3·5.
constexpr int64_t kTotal = 108 + 180 + 15;

const std::map<std::string, std::string> kOptions{{"init_sparsity", "0.3"}, {"interval", "3"}, {"t0", "0"}, {"t1", "0.6"}, {"swap_rate", "0.4"}};

TEST(GraNet, PrunesToItsScheduleAndSwapsKeepCounts) {
  PluginTrial trial("15-granet", kOptions, 0.8);
  trial.run();
  const GraNetSchedule schedule{.interval = 3, .t0 = 0, .t1 = 12, .initial_sparsity = 0.3, .final_sparsity = 0.8};
  const auto& course = trial.findings.at("course");
  ASSERT_EQ(course.size(), 6u);  // steps 3, 6 … 18
  for (const Json& row : course) {
    const auto sparsity = schedule.prune_to(row.at("step").get<int64_t>());
    if (sparsity) EXPECT_EQ(row.at("alive"), granet_kept(*sparsity, kTotal));
    EXPECT_GT(row.at("swapped").get<int64_t>(), 0);
  }
  EXPECT_EQ(course.back().at("alive"), granet_kept(0.8, kTotal));
  EXPECT_EQ(trial.findings.at("kept"), granet_kept(0.8, kTotal));
  EXPECT_GT(trial.findings.at("ever alive").get<double>(), 0.7);
}

TEST(GraNet, LeavesNothingOutsideItsMasks) {
  PluginTrial trial("15-granet", kOptions, 0.8);
  trial.run();
  for (const auto& [name, mask] : trial.result.masks) EXPECT_EQ(trial.weight(name).masked_select(mask.logical_not()).abs().sum().item<float>(), 0) << name;
}

TEST(GraNet, DoesNothingBeforeT0) {
  auto options = kOptions;
  options["t0"] = "8";
  PluginTrial trial("15-granet", options, 0.8);
  trial.run();
  EXPECT_EQ(trial.findings.at("course")[0].at("step"), 9);
}

TEST(GraNet, WithoutSwapsNeverRevives) {
  auto options = kOptions;
  options["swap_rate"] = "0";
  options["init_sparsity"] = "0";
  PluginTrial trial("15-granet", options, 0.8);
  trial.run();
  EXPECT_EQ(trial.findings.at("ever alive"), 1.0);
  for (const Json& row : trial.findings.at("course")) EXPECT_EQ(row.at("swapped"), 0);
}

TEST(GraNet, CountsTheFlopsOfItsMasks) {
  auto options = kOptions;
  options["swap_rate"] = "0";
  options["t1"] = "1.0";
  options["interval"] = "20";  // only the last step prunes
  options["init_sparsity"] = "0";
  PluginTrial dense("15-granet", options, 0.5);
  dense.run();
  EXPECT_DOUBLE_EQ(dense.findings.at("training flops share").get<double>(), 1);
  PluginTrial fixed("static-sparse", {{"start", "uniform"}}, 0.75);
  fixed.run();
  EXPECT_NEAR(fixed.findings.at("training flops share").get<double>(), 0.25, 0.01);  // counts are rounded
}

TEST(GraNet, IsResumable) {
  for (const char* growth : {"gradient", "random", "momentum"}) {
    auto options = kOptions;
    options["growth"] = growth;
    PluginTrial("15-granet", options, 0.8).expect_resumable({1, 7, 13});
  }
}

TEST(GraNet, PrunesEveryLayerAlikeButTheClassifierInUniformScope) {
  PluginTrial trial("15-granet", {{"init_sparsity", "0"}, {"interval", "3"}, {"t1", "0.6"}, {"scope", "uniform"}}, 0.9);
  trial.run();
  const auto& layers = trial.findings.at("layers");
  EXPECT_EQ(layers[0].at("kept"), 10);  // floor(0.1 · 108)
  EXPECT_EQ(layers[1].at("kept"), 18);
  EXPECT_EQ(layers[2].at("kept"), 3);  // a fifth of 15
}

TEST(GraNet, RefusesWhatHasNoMeaning) {
  const auto refused = [](const std::string& option, const std::string& value, std::optional<double> sparsity = 0.8) {
    auto options = kOptions;
    options[option] = value;
    EXPECT_THROW(PluginTrial("15-granet", options, sparsity).make(), UserError) << option << " " << value;
  };
  EXPECT_NO_THROW(PluginTrial("15-granet", kOptions, 0.8).make());
  refused("init_sparsity", "0.9");
  refused("t1", "0");
  refused("t0", "0.7");
  refused("interval", "0");
  refused("final_sparsity", "0.7");  // and 0.8 asked
  refused("final_sparsity", "1", std::nullopt);
  refused("swap_rate", "1.5");
  refused("growth", "hope");
  refused("scope", "channel");
  refused("t1", "0.6x");
  refused("no_such_option", "1");
  PluginTrial nothing("15-granet", {{"exclude", "*"}}, 0.8);
  EXPECT_THROW(nothing.run(), UserError);
}

TEST(SparseBaselines, KeepTheirDensity) {
  for (const char* method : {"rigl", "set"}) {
    PluginTrial trial(method, {{"interval", "2"}}, 0.6);
    trial.run();
    EXPECT_NEAR(trial.findings.at("kept").get<double>(), 0.4 * kTotal, 1.5) << method;  // rounded in each of three layers
    EXPECT_GT(trial.findings.at("ever alive").get<double>(), 0.41) << method;
    PluginTrial(method, {{"interval", "2"}}, 0.6).expect_resumable({5});
  }
  PluginTrial fixed("static-sparse", {}, 0.6);
  fixed.run();
  EXPECT_NEAR(fixed.findings.at("ever alive").get<double>(), 0.4, 0.01);
}

TEST(SparseBaselines, BeforeTrainingRemoveExactlyTheirShare) {
  for (const char* method : {"snip", "grasp", "synflow"}) {
    PluginTrial trial(method, {}, 0.6);
    trial.run();
    EXPECT_EQ(trial.findings.at("kept"), kTotal - 181) << method;  // floor(0.6 · 303)
    for (const auto& [name, mask] : trial.result.masks) EXPECT_EQ(trial.weight(name).masked_select(mask.logical_not()).abs().sum().item<float>(), 0) << name;
    PluginTrial(method, {}, 0.6).expect_resumable({4});
  }
}

TEST(GlobalMpWhileTraining, FollowsItsCubicAndKeepsAMinimum) {
  PluginTrial trial("24-global-mp", {{"schedule", "cubic"}, {"t1", "15"}, {"interval", "5"}, {"min_keep", "4"}}, 0.9);
  trial.run();
  const auto& course = trial.findings.at("course");
  ASSERT_EQ(course.size(), 3u);
  for (const Json& row : course) {
    const double left = 1 - row.at("step").get<double>() / 15, sparsity = 0.9 * (1 - left * left * left);
    EXPECT_EQ(row.at("alive"), kTotal - static_cast<int64_t>(sparsity * kTotal + 1e-9));
  }
  for (const Json& layer : trial.findings.at("layers")) EXPECT_GE(layer.at("kept").get<int64_t>(), 4);
  PluginTrial oneshot("24-global-mp", {{"t0", "10"}}, 0.5);
  oneshot.run();
  EXPECT_EQ(oneshot.findings.at("course").size(), 1u);
  EXPECT_EQ(oneshot.findings.at("kept"), kTotal - 151);
  EXPECT_THROW(PluginTrial("24-global-mp", {{"min_keep", "60"}}, 0.9).run(), UserError);
  EXPECT_THROW(PluginTrial("24-global-mp", {}).make(), UserError);
  EXPECT_THROW(PluginTrial("24-global-mp", {{"mt_rule", "rescale"}}, 0.9).make(), UserError);
  PluginTrial("24-global-mp", {{"schedule", "cubic"}, {"interval", "3"}}, 0.9).expect_resumable({8});
}

}  // namespace
}  // namespace espalier::granet_test
