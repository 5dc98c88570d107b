// Gates on the channels of a small classifier: what is recorded and cut, and that a killed training goes on.
#include <gtest/gtest.h>

#include "tests/lab/methods/training/plugin_trial.h"

namespace espalier {
namespace {

using test::PluginTrial;

PluginTrial trial() { return {"25-consensus-polarization", {{"unit", "channel"}, {"target", "0.6"}}}; }

TEST(ConsensusPlugin, GoesOnWhereItWasKilled) {
  PluginTrial resumed = trial();
  resumed.expect_resumable({3, 11});
}

// Gates that close everything they may: while the training runs the network with its gates is measured, at the end the cut one.
TEST(ConsensusPlugin, MeasuresWhatTheGatesLeave) {
  PluginTrial closing("25-consensus-polarization", {{"unit", "channel"}, {"lambda_act", "1000"}, {"lambda_budget", "0"}});
  const test::FormulaPictures pictures(40, 3, 6, 3, [](int64_t i, int64_t p) { return static_cast<uint8_t>((i * 97 + p * 31) % 256); });
  PictureTask task(closing.model.graph, pictures, {}, closing.model.image, {.batch = 8, .seed = 5}, &pictures);
  Plugins plugins;
  plugins.push_back(closing.make());
  const TrainResult result = train(closing.model.graph, task, closing.training, plugins);
  std::vector<double> accuracy;
  for (const Metric& metric : result.metrics)
    if (metric.name == "accuracy") accuracy.push_back(metric.value);
  ASSERT_EQ(accuracy.size(), 4u);  // epochs of five steps
  // All channels of a layer closed: every picture gets the classifier's biases, one class of the three (14 or 13 of 40 are right).
  EXPECT_TRUE(accuracy[2] == 14.0 / 40 || accuracy[2] == 13.0 / 40) << accuracy[2];
  plugins[0]->finish(closing.model);
  EXPECT_EQ(accuracy.back(), task.evaluate(closing.model.graph).at("accuracy"));
  EXPECT_EQ(closing.model.graph.parameter("c1.w").shape()[0], 1);  // the most open channel stays
}

TEST(ConsensusPlugin, MistakesAreNamed) {
  EXPECT_THROW(PluginTrial("25-consensus-polarization", {{"target", "1"}}).make(), UserError);
  EXPECT_THROW(PluginTrial("25-consensus-polarization", {{"unit", "head"}}).make(), UserError);
  EXPECT_THROW(PluginTrial("25-consensus-polarization", {}).run(), UserError);  // no residual branches
}

}  // namespace
}  // namespace espalier
