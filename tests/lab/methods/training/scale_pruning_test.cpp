// MaskSparsity and network slimming on a small network: what they penalise, choose and cut.
#include "espalier/lab/methods/training/scale_pruning.h"

#include <gtest/gtest.h>

#include "espalier/families/family.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/trainer.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier::scale_pruning_test {
namespace {

using Source = ScalePruning::Source;

Model classifier(Graph graph) {
  Model model;
  model.graph = std::move(graph);
  model.task = Task::kImages;
  model.image = test::small_input();
  return model;
}

struct Trained {
  Model model;
  Json findings;
  TrainResult result;
};

Trained run(Graph graph, ScalePruning settings, int64_t steps = 40) {
  Trained run{classifier(std::move(graph)), {}, {}};
  const auto pictures = test::eight_pictures();
  PictureTask task(run.model.graph, pictures, {}, run.model.image, {.batch = 4});
  TrainOptions options;
  options.steps = steps, options.learning_rate = 0.05, options.evaluate_every = 0;
  Plugins plugins;
  plugins.push_back(make_scale_pruning(std::move(settings)));
  run.result = train(run.model.graph, task, options, plugins);
  plugins[0]->finish(run.model);
  run.findings = plugins[0]->findings();
  return run;
}

TEST(NormGroups, ResidualStreamsAreSharedAndDepthwiseNormsFollow) {
  const test::Network residual = test::residual_network();
  const auto inner = find_norm_groups(residual.graph, find_coupling(residual.graph), false);
  ASSERT_EQ(inner.size(), 1u);
  EXPECT_EQ(inner[0].norms, (std::vector<std::string>{"c1.bn"}));
  const auto all = find_norm_groups(residual.graph, find_coupling(residual.graph), true);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].norms, (std::vector<std::string>{"stem.bn", "c2.bn"}));
  EXPECT_EQ(all[0].voters, 2u);
  const test::Network depthwise = test::depthwise_network();
  const auto groups = find_norm_groups(depthwise.graph, find_coupling(depthwise.graph), false);
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].norms, (std::vector<std::string>{"expand.bn", "depthwise.bn"}));
  EXPECT_EQ(groups[0].voters, 1u);
}

TEST(ScalePruning, OnlyMaskedScalesVanish) {
  const Trained masked = run(test::small_classifier(), {.id = "test", .source = Source::kMagnitude, .strength = 0.2, .share = 0.4}, 100);
  EXPECT_LT(masked.findings.at("largest scale of pruned channels").get<double>(), 0.05);
  const Json& kept = masked.findings.at("mean scale of kept channels");
  EXPECT_GT(kept.at("after").get<double>(), 0.9 * kept.at("before").get<double>());
  EXPECT_EQ(masked.findings.at("kept").get<int64_t>(), 6);  // of 9
  int64_t width = 0;
  for (const char* name : {"c1.w", "c2.w"}) width += masked.model.graph.parameter(name).shape()[0];
  EXPECT_EQ(width, 6);
}

// What is cut with scale and bias 0 computed nothing: the cut network gives the same.
TEST(ScalePruning, CutEqualsMasked) {
  Graph graph = test::small_classifier();
  for (const char* name : {"c1.bn.scale.weight", "c1.bn.bias"}) {
    std::vector<float> values = graph.parameter(name).load().to_floats();
    values[1] = 0;
    graph.parameter(name).assign(Tensor::from_floats({4}, values));
  }
  const at::Tensor x = at::sin(at::arange(2 * 3 * 36, at::kFloat)).view({2, 3, 6, 6});
  Model model = classifier(graph.clone());
  auto plugin = make_scale_pruning({.id = "test", .source = Source::kGiven, .strength = 0, .cut_as_masked = true, .given = {{"c1.bn", {true, false, true, true}}}});
  const auto pictures = test::eight_pictures();
  PictureTask task(model.graph, pictures, {}, model.image, {.batch = 4});
  TrainOptions options;
  options.steps = 1, options.learning_rate = 1e-30, options.evaluate_every = 0;  // moves nothing that can be seen
  Plugins plugins;
  plugins.push_back(std::move(plugin));
  train(model.graph, task, options, plugins);
  Weights whole_weights(model.graph);
  const at::Tensor whole = Interpreter(model.graph, whole_weights).forward(x);
  Model cut = classifier(model.graph.clone());
  plugins[0]->finish(cut);
  EXPECT_EQ(cut.graph.parameter("c1.w").shape()[0], 3);
  Weights cut_weights(cut.graph);
  EXPECT_LT((whole - Interpreter(cut.graph, cut_weights).forward(x)).abs().max().item<double>(), 1e-5);
}

// While the network is whole its own accuracy is recorded and that of the cut one; at the end that of the result.
TEST(ScalePruning, RecordsTheCutNetworksQuality) {
  Model model = classifier(test::small_classifier());
  const auto pictures = test::eight_pictures();
  PictureTask task(model.graph, pictures, {}, model.image, {.batch = 4}, &pictures);
  TrainOptions options;
  options.steps = 12, options.learning_rate = 0.05;
  Plugins plugins;
  plugins.push_back(make_scale_pruning({.id = "test", .source = Source::kEnd, .strength = 0.1, .share = 0.4}));
  const TrainResult result = train(model.graph, task, options, plugins);
  plugins[0]->finish(model);
  std::map<std::string, int> count;
  std::map<std::string, double> last;
  for (const Metric& metric : result.metrics) ++count[metric.name], last[metric.name] = metric.value;
  EXPECT_EQ(count["cut/accuracy"], 6);
  EXPECT_EQ(count["accuracy"], 6);
  const double accuracy = task.evaluate(model.graph).at("accuracy");
  EXPECT_EQ(last["cut/accuracy"], accuracy);
  EXPECT_EQ(last["accuracy"], accuracy);
}

TEST(ScalePruning, TheRunForTheMaskIsForgotten) {
  const Trained found = run(test::small_classifier(), {.id = "test", .strength = 0, .run_strength = 0.2, .share = 0.4}, 20);
  EXPECT_EQ(found.result.steps_run, 40);
  // Without a penalty in the second training it is the plain one, but for the cut.
  ScalePruning plain{.id = "test", .source = Source::kGiven, .strength = 0, .cut_as_masked = true};
  for (const auto& [norm, flags] : found.findings.at("keep").items()) plain.given[norm] = flags.get<std::vector<bool>>();
  const Trained other = run(test::small_classifier(), plain, 20);
  for (const auto& parameter : found.model.graph.parameters())
    EXPECT_EQ(parameter->load().to_floats(), other.model.graph.parameter(parameter->name()).load().to_floats()) << parameter->name();
}

TEST(ScalePruning, MistakesAreNamed) {
  ESP_EXPECT_USER_ERROR(run(test::grouped_network().graph.clone(), {.id = "test"}), "no batch norms");
  ESP_EXPECT_USER_ERROR(run(test::small_classifier(), {.id = "test", .source = Source::kGiven, .given = {{"c1.bn", {true, false}}}}), "expected 4 channels");
  ESP_EXPECT_USER_ERROR(run(test::small_classifier(), {.id = "test", .source = Source::kGiven, .given = {{"c1.bnx", {true}}}}), "c1.bnx");
  ESP_EXPECT_USER_ERROR(run(test::small_classifier(), {.id = "test", .run_strength = 0, .threshold = 1e-9}), "no channel is to go");
  ESP_EXPECT_USER_ERROR(run(test::small_classifier(), {.id = "test", .threshold = 1e9}), "empties every layer");
}

}  // namespace
}  // namespace espalier::scale_pruning_test
