// What PERP trains, and that merging loses nothing.
#include "espalier/lab/repair/perp.h"

#include <gtest/gtest.h>

#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/repair/repair.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/trainer.h"
#include "tests/lab/methods/pictures.h"
#include "tests/lab/methods/structures/tiny_trial.h"

namespace espalier {
namespace {

using test::TinyTrial;

at::Tensor waves(at::IntArrayRef shape, double rate) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kFloat) * rate).view(shape);
}

LowRank moved(LowRankForm form, const at::Tensor& base, const at::Tensor& keep) {
  LowRank adapter = make_low_rank(form, base, keep, 3, 6, Rng(0, "test"));
  at::NoGradGuard no_gradients;
  adapter.a += waves(adapter.a.sizes(), 1.3);
  adapter.b += waves(adapter.b.sizes(), 0.7);
  return adapter;
}

TEST(LowRankAdapters, BeginAsTheWeight) {
  const at::Tensor keep = waves({8, 6}, 2.1) > 0, base = waves({8, 6}, 0.4) * keep;
  for (LowRankForm form : {LowRankForm::kLora, LowRankForm::kLoraPrune, LowRankForm::kMaskLora, LowRankForm::kScaleLora})
    EXPECT_TRUE(at::allclose(trained_weight(make_low_rank(form, base, keep, 4, 32, Rng(0, "a"))), base, 1e-6, 1e-7)) << name_of(form);
}

TEST(LowRankAdapters, MergeExactlyAndKeepTheZeros) {
  const at::Tensor keep = waves({8, 6}, 2.1) > 0, base = waves({8, 6}, 0.4) * keep;
  for (LowRankForm form : {LowRankForm::kMaskLora, LowRankForm::kScaleLora}) {
    const LowRank adapter = moved(form, base, keep);
    EXPECT_TRUE(at::equal(merged_weight(adapter), trained_weight(adapter).detach())) << name_of(form);
    EXPECT_FALSE(merged_weight(adapter).masked_select(keep.logical_not()).any().item<bool>());
  }
  const LowRank jump = moved(LowRankForm::kLoraPrune, base, keep);
  EXPECT_TRUE(at::equal(merged_weight(jump), trained_weight(jump).detach() * keep));
  EXPECT_FALSE(at::equal(merged_weight(jump), trained_weight(jump).detach()));
}

TEST(LowRankAdapters, RankIsAtMostTheWeights) { EXPECT_EQ(make_low_rank(LowRankForm::kMaskLora, waves({8, 3}, 1), {}, 16, 32, Rng(0, "a")).a.size(0), 3); }

// A decoder by its formula, and by its graph.
TEST(Perp, CountsWhatItTrains) {
  TinyTrial trial("opt", {.hidden = 32, .heads = 4, .head_size = 8, .ffn = 48, .layers = 3, .tied = true});
  PerpOptions options;
  options.rank = 8;
  const PerpCounts counts = PerpWeights(trial.model.graph, {}, options, 0).counts(), formula = decoder_counts(3, 32, 48, 2048, 8);
  EXPECT_EQ(counts.bias, formula.bias);
  EXPECT_EQ(counts.norm, formula.norm);
  EXPECT_EQ(counts.lora, formula.lora);
  EXPECT_EQ(counts.head, 0);  // tied
  const int64_t positions = trial.model.graph.parameter("model.decoder.embed_positions.weight").count();
  EXPECT_EQ(counts.total, formula.total + positions);
  EXPECT_EQ(PerpWeights(TinyTrial("llama").model.graph, {}, options, 0).counts().head, formula.head);
}

TEST(Perp, MistakesAreNamed) {
  TinyTrial trial("llama", {.tied = true});
  const auto trains = [&](const std::string& list) { return PerpWeights(trial.model.graph, {}, perp_options({{"train", list}}), 0); };
  ESP_EXPECT_USER_ERROR(trains("head"), "shares its weight with the embedding");
  ESP_EXPECT_USER_ERROR(trains("bias"), "nothing of what was asked");
  ESP_EXPECT_USER_ERROR(perp_options({{"train", "full,norm"}}), "full alone");
  ESP_EXPECT_USER_ERROR(perp_options({{"train", "weights"}}), "one of bias, norm, head");
  ESP_EXPECT_USER_ERROR(perp_options({{"lora", "masklora"}}), "mask_lora");
  ESP_EXPECT_USER_ERROR(perp_options({{"warmup", "1.5"}}), "at most 1");
  ESP_EXPECT_USER_ERROR(perp_options({{"rnk", "4"}}), "did you mean 'rank'");
  trial.options = {};
  PruneJob job = trial.job("magnitude");
  job.method().prune(job);
  ESP_EXPECT_USER_ERROR(repair_by_perp(job, perp_options({{"lora", "lora"}, {"steps", "1"}})), "has removed weights");
}

std::map<std::string, at::Tensor> zeros_of(const PruneJob& job) {
  std::map<std::string, at::Tensor> zeros;
  for (const auto& [name, mask] : job.masks()) zeros[name] = bool_mask(mask).logical_not();
  return zeros;
}

void expect_zeros(const PruneJob& job) {
  for (const auto& [name, zeros] : zeros_of(job))
    EXPECT_FALSE(to_torch(job.graph().parameter(name).load()).masked_select(zeros).any().item<bool>()) << name;
}

TEST(Perp, RetrainingKeepsTheZerosOfEveryLayout) {
  for (const char* type : {"llama", "gpt2", "opt"})
    for (const char* form : {"mask_lora", "scale_lora", "lora_prune"}) {
      TinyTrial trial(type);
      PruneJob job = trial.job("magnitude");
      job.method().prune(job);
      const std::string before = test::bytes_of(job.graph());
      repair_model(job, "perp", {{"steps", "3"}, {"lora", form}, {"rank", "2"}});
      expect_zeros(job);
      EXPECT_NE(test::bytes_of(job.graph()), before);
      const Json& report = job.findings().at("repair");
      EXPECT_EQ(report.at("optimiser_bytes").get<int64_t>(), 2 * 4 * report.at("trained").get<int64_t>());
    }
}

TEST(Perp, MergedLogitsAreThoseOfTheAdapters) {
  TinyTrial trial("gpt2");
  PruneJob job = trial.job("magnitude");
  job.method().prune(job);
  std::map<std::string, at::Tensor> keep;
  for (const auto& [name, mask] : job.masks()) keep[name] = bool_mask(mask);
  PerpOptions options;
  options.rank = 4;
  PerpWeights trained(job.graph(), keep, options, 0);
  at::NoGradGuard no_gradients;
  for (auto [name, leaf] : trained.leaves()) leaf += 0.05 * waves(leaf.sizes(), 0.9);
  Weights live(job.graph()), merged(job.graph());
  trained.install(live);
  for (const auto& [name, value] : trained.merged()) merged.set(name, value);
  const at::Tensor ids = at::arange(24).unsqueeze(0) * 37 % 2048;
  const at::Tensor a = Interpreter(job.graph(), live).forward(ids), b = Interpreter(job.graph(), merged).forward(ids);
  EXPECT_LT((a - b).abs().max().item<double>(), 1e-4);
}

TEST(Perp, ReconstructionNeverMovesABlockAway) {
  TinyTrial trial("llama");
  PruneJob job = trial.job("magnitude");
  job.method().prune(job);
  repair_model(job, "perp", {{"mode", "reconstruct"}, {"steps", "30"}, {"lr", "0.01"}, {"rank", "4"}});
  expect_zeros(job);
  double before = 0, after = 0;
  for (const auto& block : job.findings().at("repair").at("blocks")) {
    EXPECT_LE(block.at("after").get<double>(), block.at("before").get<double>());
    before += block.at("before").get<double>(), after += block.at("after").get<double>();
  }
  EXPECT_LT(after, 0.95 * before);
}

TEST(Perp, AClassifierOfPictures) {
  test::PictureTrial trial("ResNetBasic");
  PruneJob job = trial.job("magnitude");
  job.method().prune(job);
  repair_model(job, "perp", {{"steps", "3"}, {"batch", "8"}, {"rank", "2"}});
  expect_zeros(job);
  EXPECT_GT(job.findings().at("repair").at("norm").get<int64_t>(), 0);
  ESP_EXPECT_USER_ERROR(repair_model(job, "perp", {{"mode", "reconstruct"}}), "for language models");
}

// Beside the trainer: what stands still does, what was removed stays so, and the adapters end up in the weights.
TEST(Perp, AsAPluginItTrainsAdaptersAlone) {
  Model model;
  model.graph = test::small_classifier();
  model.task = Task::kImages;
  model.image = test::small_input();
  const Graph before = model.graph.clone();
  const at::Tensor keep = waves({5, 4, 3, 3}, 2.1) > 0;
  const auto pictures = test::eight_pictures();
  PictureTask task(model.graph, pictures, {}, model.image, {.batch = 4});
  TrainOptions options;
  options.steps = 5, options.learning_rate = 0.05, options.evaluate_every = 0;
  Plugins plugins;
  plugins.push_back(make_plugin("23-perp", {{"train", "lora"}, {"rank", "2"}}, std::nullopt, model, options, 5, 2));
  train(model.graph, task, options, plugins, {{"c2.w", weight_mask(keep)}});
  const auto moved = [&](const char* name) { return model.graph.parameter(name).load().to_floats() != before.parameter(name).load().to_floats(); };
  for (const char* name : {"c1.w", "c2.w"}) EXPECT_TRUE(moved(name)) << name;
  for (const char* name : {"c1.bn.scale.weight", "c1.bn.bias", "fc.w", "fc.b"}) EXPECT_FALSE(moved(name)) << name;
  EXPECT_FALSE(to_torch(model.graph.parameter("c2.w").load()).masked_select(keep.logical_not()).any().item<bool>());
  EXPECT_GT(plugins[0]->findings().at("trained").get<int64_t>(), 0);
}

TEST(Perp, AsAMethodItPrunesFirst) {
  TinyTrial trial("llama");
  trial.options = {{"pruner", "wanda"}, {"steps", "2"}, {"rank", "2"}};
  PruneJob job = trial.job("23-perp");
  job.method().prune(job);
  expect_zeros(job);
  EXPECT_NEAR(job.reached(), 0.5, 0.01);
  TinyTrial other("llama");
  other.options = {{"pruner", "shortgpt"}};
  PruneJob wrong = other.job("23-perp");
  ESP_EXPECT_USER_ERROR(wrong.method().prune(wrong), "a method that removes single weights");
}

}  // namespace
}  // namespace espalier
