#include "espalier/lab/methods/plan.h"

#include "espalier/core/error.h"
#include "espalier/lab/methods/prune_request.h"
#include "espalier/lab/methods/runner.h"
#include "espalier/requests/recipe.h"
#include "tests/lab/methods/embedded.h"

namespace espalier::test {
namespace {

PruneRequest request(const std::string& method, std::optional<double> sparsity) {
  PruneRequest request;
  request.model = embedded_model();
  request.common.threads = 1;
  request.calib.samples = 2;
  request.calib.length = 32;
  StepRequest step;
  step.method = method;
  step.sparsity = sparsity;
  request.steps.push_back(step);
  return request;
}

// (method, sparsity, pattern, block)
struct Budget {
  std::string method;
  double sparsity;
  std::optional<NOfM> pattern = std::nullopt;
  int64_t block = 1;
};

class PlanAgrees : public ::testing::TestWithParam<Budget> {};

TEST_P(PlanAgrees, WithTheCut) {
  const Budget& budget = GetParam();
  const auto size_after = [&](bool trial) {
    Trial arm;
    arm.sparsity = budget.sparsity;
    arm.pattern = budget.pattern;
    arm.block = budget.block;
    arm.trial = trial;
    arm.samples = 2;
    arm.length = 32;
    if (budget.method == "26-finercut") arm.options = {{"search", "one-shot"}, {"sequences", "1"}, {"length", "16"}};
    PruneJob job = arm.job(budget.method);
    job.method().prune(job);
    // Attention and FFN sub-layers differ in size: which ones go decides the parameters, how many does not.
    return std::pair(job.reached(), budget.method == "26-finercut" ? 0 : arm.model.graph.parameter_count());
  };
  EXPECT_EQ(size_after(true), size_after(false));
}

INSTANTIATE_TEST_SUITE_P(Budgets, PlanAgrees,
                         ::testing::Values(Budget{"random", 0.37}, Budget{"magnitude", 0.5}, Budget{"magnitude", 0.5, NOfM{2, 4}},
                                           Budget{"wanda", 0.333}, Budget{"wanda", 0.75, NOfM{1, 4}}, Budget{"sparsegpt", 0.333},
                                           Budget{"sparsegpt", 0.5, NOfM{4, 8}}, Budget{"24-global-mp", 0.61}, Budget{"wanda-sp", 0.3},
                                           Budget{"24-global-mp", 0.5, NOfM{2, 4}}, Budget{"24-global-mp", 0.61, {}, 16},
                                           Budget{"random", 0.37, {}, 16}, Budget{"magnitude", 0.5, {}, 16},
                                           Budget{"wanda", 0.333, {}, 16}, Budget{"sparsegpt", 0.333, {}, 16},
                                           Budget{"llm-pruner", 0.4}, Budget{"03-amp", 0.3}, Budget{"shortgpt", 0.34},
                                           Budget{"26-finercut", 0.25}),
                         [](const auto& info) { return fmt::format("case_{}", info.index); });

TEST(Plan, SaysWhatWillBeLeft) {
  const Json plan = plan_prune(request("03-amp", 0.3));
  EXPECT_LT(plan.at("after").at("params"), plan.at("before").at("params"));
  EXPECT_NEAR(plan.at("steps").at(0).at("reached").get<double>(), 0.268, 0.001);
  EXPECT_EQ(plan.at("steps").at(0).at("options").at("prompts"), "50");
  EXPECT_GT(plan.at("peak_memory_bytes"), 0);
}

TEST(Plan, ChainsItsSteps) {
  PruneRequest two = request("shortgpt", 0.34);
  two.steps.push_back(request("03-amp", 0.3).steps[0]);
  EXPECT_LT(plan_prune(two).at("after").at("params"), plan_prune(request("shortgpt", 0.34)).at("after").at("params"));
}

TEST(Plan, RefusesWhatARunWouldRefuse) {
  PruneRequest pattern = request("wanda", std::nullopt);
  pattern.steps[0].pattern = "2:5";
  ESP_EXPECT_USER_ERROR(plan_prune(pattern), "a multiple of 5");
  pattern.steps[0].pattern = "block:1x16";
  ESP_EXPECT_USER_ERROR(plan_prune(pattern), "--sparsity: missing");
  PruneRequest units = request("03-amp", 0.5);
  units.steps[0].pattern = "block:1x16";
  ESP_EXPECT_USER_ERROR(plan_prune(units), "removes no single weights");
  ESP_EXPECT_USER_ERROR(plan_prune(request("shortgpt", 0.01)), "nothing");
  PruneRequest minimum = request("24-global-mp", 0.99);
  minimum.steps[0].options = {{"min_keep_percent", "2"}};
  ESP_EXPECT_USER_ERROR(plan_prune(minimum), "min_keep");
  PruneRequest uniform = request("26-finercut", 0.25);
  uniform.uniform = true;
  ESP_EXPECT_USER_ERROR(plan_prune(uniform), "--uniform");
  ESP_EXPECT_USER_ERROR(plan_prune(request("44-journey-matters", 0.5)), "use train --method 44-journey-matters");
  ESP_EXPECT_USER_ERROR(plan_prune(request("16-rethinking-value", 0.5)), "is a study");
  PruneRequest repair = request("wanda", 0.5);
  repair.steps[0].repair = "lora";
  repair.steps[0].options = {{"repair.rang", "4"}};
  ESP_EXPECT_USER_ERROR(plan_prune(repair), "did you mean 'rank'");
}

TEST(CompletedRequest, NamesEveryDefaultAndStaysTheSameWhenCompletedAgain) {
  PruneRequest asked = request("amp", 0.3);
  asked.calib = {};
  asked.steps[0].repair = "lora";
  Model model = open_model(asked.model, asked.common);
  const CalibrationSource source = calibration_of(asked, model);
  const PruneRequest full = completed(asked, model, source);
  const Json step = recipe_of(full).at("steps").at(0);
  EXPECT_EQ(step.at("method"), "03-amp");
  EXPECT_EQ(step.at("of"), "params");
  EXPECT_EQ(step.at("set").at("max-length"), "512");
  EXPECT_EQ(step.at("set").at("repair.rank"), "8");
  EXPECT_EQ(step.at("set").count("layers-worth"), 0u);
  EXPECT_EQ(recipe_of(full).at("calib").at("data"), "calibration.txt");
  EXPECT_EQ(recipe_of(full).at("calib").at("length"), model.context_length);
  EXPECT_EQ(recipe_of(completed(full, model, source)), recipe_of(full));
}

}  // namespace
}  // namespace espalier::test
