// Pruning within a training of a language model: what is left, and what it cost.
#include <gtest/gtest.h>

#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/training/journey_matters.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/text_task.h"
#include "espalier/lab/training/trainer.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

struct Trained {
  TrainResult result;
  Json findings;
};

Trained train_tiny(Model& model, int64_t steps, const std::map<std::string, std::string>& given, std::optional<double> sparsity) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 400; ++i) tokens.push_back(i * i % 31);
  TextTask task(model.graph, tokens, 8, 2, 0);
  TrainOptions options;
  options.steps = steps, options.optimiser = OptimiserKind::kAdamW, options.learning_rate = 1e-3, options.evaluate_every = 0;
  Plugins plugins;
  plugins.push_back(make_plugin("44-journey-matters", given, sparsity, model, options, steps, 10));
  Trained trained{train(model.graph, task, options, plugins), {}};
  trained.findings = plugins[0]->findings();
  return trained;
}

TEST(JourneyPlugin, EndsAtTheSparsityAndSpendsTheBudget) {
  test::TempDir dir;
  Model model = test::load_tiny(dir / "model", "llama", {.layers = 2});  // its head is a matrix of its own
  const JourneyPlan plan = plan_journey(60, 0.6, 0.25, 0.75, DensityShape::kGeometric);
  const Trained trained = train_tiny(model, plan.steps, {{"budget", "60"}}, 0.6);
  const Json& journey = trained.findings.at("journey");
  EXPECT_NEAR(journey.at("dense steps").get<double>(), 60, 0.5);
  int64_t kept = 0, all = 0;
  for (const auto& [name, keep] : trained.result.masks) {
    EXPECT_EQ(name.find("lm_head"), std::string::npos);
    kept += keep.sum().item<int64_t>();
    all += keep.numel();
  }
  EXPECT_EQ(all, journey.at("params").get<int64_t>());
  EXPECT_EQ(kept, static_cast<int64_t>(0.4 * static_cast<double>(all) + 1e-9));
  EXPECT_NEAR(journey.at("average density").get<double>(), average_density(plan.schedule, plan.steps), 0.01);
}

TEST(JourneyPlugin, WithoutAFinalPhaseTheLastPruningIsTheEnd) {
  test::TempDir dir;
  Model model = test::load_tiny(dir / "model", "llama", {.layers = 1, .tied = true});
  const Trained trained = train_tiny(model, 20, {{"start", "0.5"}, {"end", "1"}}, 0.5);
  const auto total = trained.findings.at("total").get<int64_t>();
  EXPECT_EQ(trained.findings.at("kept").get<int64_t>(), total / 2);
}

TEST(JourneyPlugin, MistakesAreNamed) {
  test::TempDir dir;
  Model model = test::load_tiny(dir / "model", "llama", {.layers = 1});
  ESP_EXPECT_USER_ERROR(train_tiny(model, 20, {}, std::nullopt), "--sparsity: missing");
  ESP_EXPECT_USER_ERROR(train_tiny(model, 20, {{"budget", "60"}}, 0.5), "--training steps=");
  ESP_EXPECT_USER_ERROR(train_tiny(model, 20, {{"start", "0.8"}}, 0.5), "0 <= start < end <= 1");
}

}  // namespace
}  // namespace espalier
