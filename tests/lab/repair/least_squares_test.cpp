#include "espalier/lab/repair/least_squares.h"

#include <gtest/gtest.h>

#include "espalier/io/text_dataset.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/repair/repair.h"
#include "tests/lab/methods/structures/tiny_trial.h"

namespace espalier::test {
namespace {

at::Tensor numbers(at::IntArrayRef shape, int64_t seed) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  const at::Tensor hashed = at::sin((at::arange(count, at::kDouble) + 1) * 12.9898 * static_cast<double>(seed)) * 43758.5453;
  return (at::frac(hashed) * 2).reshape(shape);
}

struct Problem {
  at::Tensor x = numbers({50, 7}, 3), t = numbers({50, 4}, 5), w = numbers({4, 7}, 7);
  at::Tensor gram() const { return x.t().matmul(x); }
  at::Tensor cross() const { return t.t().matmul(x); }
  double lambda(double damp) const { return damp * gram().diagonal().mean().item<double>(); }
  double loss(const at::Tensor& fitted) const { return (x.matmul(fitted.t()) - t).square().sum().item<double>(); }

  // By QR of the stacked system [X; sqrt(lambda) I], a row and its kept columns at a time.
  at::Tensor reference(const at::Tensor& keep, double damp) const {
    const at::Tensor ridge = at::eye(7, at::kDouble) * std::sqrt(lambda(damp)), stacked = at::cat({x, ridge});
    at::Tensor fitted = at::zeros({4, 7}, at::kDouble);
    for (int64_t row = 0; row < 4; ++row) {
      const at::Tensor columns = keep[row].nonzero().flatten();
      const at::Tensor wanted = at::cat({t.select(1, row), ridge.matmul(w[row] * keep[row])}).unsqueeze(1);
      const auto [q, r] = at::linalg_qr(stacked.index_select(1, columns));
      const at::Tensor solution = at::linalg_solve_triangular(r, q.t().matmul(wanted), /*upper=*/true);
      fitted[row].index_copy_(0, columns, solution.flatten());
    }
    return fitted;
  }
};

TEST(FitSurvivors, OneRemovedWeightByHand) {
  // G = [[2,1],[1,2]], the dense row [1,1] gives cross = [3,3]; with the second weight gone 2 w = 3.
  const at::Tensor gram = at::tensor({2.0, 1.0, 1.0, 2.0}).reshape({2, 2}), cross = at::tensor({3.0, 3.0}).reshape({1, 2});
  const at::Tensor w = at::tensor({1.0, 0.0}).reshape({1, 2}), keep = w > 0;
  const at::Tensor fitted = fit_survivors(w, keep, gram, cross, {1e-12, 8}, "layer");
  EXPECT_NEAR(fitted[0][0].item<double>(), 1.5, 1e-9);
  EXPECT_EQ(fitted[0][1].item<double>(), 0.0);
}

TEST(FitSurvivors, WithoutAMaskIsTheRidgeSolution) {
  const Problem problem;
  const at::Tensor all = at::ones({4, 7}, at::kBool);
  for (double damp : {1e-9, 0.01, 1.0}) {
    const at::Tensor fitted = fit_survivors(problem.w, {}, problem.gram(), problem.cross(), {damp, 1}, "layer");
    EXPECT_LT((fitted - problem.reference(all, damp)).abs().max().item<double>(), 1e-9) << damp;
  }
}

TEST(FitSurvivors, EveryRowHasItsOwnKeptWeights) {
  const Problem problem;
  const at::Tensor keep = numbers({4, 7}, 11) > -0.2;
  ASSERT_LT(keep.sum().item<int64_t>(), 28);
  for (double damp : {1e-9, 0.01}) {
    const at::Tensor fitted = fit_survivors(problem.w, keep, problem.gram(), problem.cross(), {damp, 64}, "layer");
    EXPECT_LT((fitted - problem.reference(keep, damp)).abs().max().item<double>(), 1e-7) << damp;
    EXPECT_TRUE(at::equal(fitted == 0, keep.logical_not()));
  }
}

TEST(FitSurvivors, EveryIterationGainsAndNoneLoses) {
  const Problem problem;
  const at::Tensor keep = numbers({4, 7}, 11) > -0.2;
  double before = problem.loss(problem.w * keep);
  for (int64_t iterations = 1; iterations <= 4; ++iterations) {
    const double after = problem.loss(fit_survivors(problem.w, keep, problem.gram(), problem.cross(), {1e-9, iterations}, "layer"));
    EXPECT_LT(after, before) << iterations;
    before = after;
  }
}

TEST(FitSurvivors, KeepsTheWeightsOfALayerThatSeesZeros) {
  const Problem problem;
  const at::Tensor zeros = at::zeros({7, 7}, at::kDouble);
  EXPECT_TRUE(at::equal(fit_survivors(problem.w, {}, zeros, at::zeros({4, 7}, at::kDouble), {}, "layer"), problem.w));
}

// A dead input has no column to fit; the others must not suffer from it.
TEST(FitSurvivors, ADeadInputKeepsItsWeight) {
  Problem problem;
  problem.x.select(1, 2).zero_();
  const at::Tensor keep = at::ones({4, 7}, at::kBool);
  const at::Tensor fitted = fit_survivors(problem.w, keep, problem.gram(), problem.cross(), {0.01, 64}, "layer");
  EXPECT_LT((fitted - problem.reference(keep, 0.01)).abs().max().item<double>(), 1e-7);
  EXPECT_LT((fitted - problem.w).select(1, 2).abs().max().item<double>(), 1e-9);
}

// Squared distance of the residual stream behind every block from the dense model's.
std::vector<double> stream_errors(const Graph& dense, const Graph& pruned, const TokenSequences& windows) {
  BlockStream ours(pruned, windows), theirs(dense, windows);
  std::vector<double> errors;
  while (!ours.done()) {
    ours.advance();
    theirs.advance();
    errors.push_back(0);
    for (size_t i = 0; i < ours.batch_count(); ++i) errors.back() += (ours.hidden()[i] - theirs.hidden()[i]).square().sum().item<double>();
  }
  return errors;
}

double perplexity(const Graph& graph) {
  const auto windows = token_windows(assets_dir() / "data" / "evaluation.txt", Tokenizer::load(embedded_model()), {.window = 256, .max_windows = 12});
  return measure_quality(graph, windows, 256, 256).perplexity.value;
}

struct Calibrated : Trial {
  explicit Calibrated(double share) {
    sparsity = share;
    samples = 32;
    length = 128;
  }
};

struct Arm {
  std::string method;
  double sparsity;
};

TEST(LeastSquares, BringsPrunedModelsNearerToTheDenseOne) {
  for (const Arm& arm : {Arm{"magnitude", 0.5}, {"llm-pruner", 0.25}, {"wanda-sp", 0.25}}) {
    Calibrated trial(arm.sparsity);
    PruneJob job = trial.job(arm.method);
    job.method().prune(job);
    const auto masks = job.masks();
    const Model dense = load_model(embedded_model());
    const double before = perplexity(trial.model.graph);
    const auto errors_before = stream_errors(dense.graph, trial.model.graph, job.windows());
    const int64_t parameters = trial.model.graph.parameter_count();
    repair_model(job, "ls", {});
    const auto errors = stream_errors(dense.graph, trial.model.graph, job.windows());
    for (size_t block = 0; block < errors.size(); ++block)
      EXPECT_TRUE(errors[block] < errors_before[block] || errors_before[block] == 0) << arm.method << " block " << block;
    EXPECT_LT(perplexity(trial.model.graph), before - 0.2) << arm.method;
    EXPECT_EQ(trial.model.graph.parameter_count(), parameters);
    for (const auto& [name, mask] : masks) {
      const auto values = trial.model.graph.parameter(name).load().to_floats();
      for (int64_t i = 0; i < mask.count(); ++i)
        ASSERT_TRUE(mask.keeps(i) || values[static_cast<size_t>(i)] == 0.0f) << name << " " << i;
    }
  }
}

// Weights stored [in, out], biases, layer norms.
TEST(LeastSquares, FollowsTransposedLayersAndBiases) {
  for (const char* method : {"magnitude", "wanda-sp"}) {
    TinyTrial trial("gpt2");
    trial.samples = 16;
    PruneJob job = trial.job(method);
    job.method().prune(job);
    const Model dense = trial.dense();
    const auto before = stream_errors(dense.graph, trial.model.graph, job.windows());
    repair_model(job, "ls", {});
    const auto after = stream_errors(dense.graph, trial.model.graph, job.windows());
    for (size_t block = 0; block < after.size(); ++block) EXPECT_LT(after[block], before[block]) << method << " block " << block;
  }
}

TEST(LeastSquares, GivesTheSameBitsTwice) {
  std::string bytes[2];
  for (auto& result : bytes) {
    Trial trial;
    PruneJob job = trial.job("magnitude");
    job.method().prune(job);
    repair_model(job, "ls", {{"iterations", "4"}});
    result = bytes_of(trial.model.graph);
  }
  EXPECT_EQ(bytes[0], bytes[1]);
}

TEST(LeastSquares, LeavesUntouchedWhatWasNotPruned) {
  Trial trial;
  trial.protect = {"model.layers.*.self_attn.*", "model.layers.0.*"};
  PruneJob job = trial.job("magnitude");
  job.method().prune(job);
  repair_model(job, "ls", {{"iterations", "2"}});
  const Model dense = load_model(embedded_model());
  for (const auto& parameter : dense.graph.parameters()) {
    const bool fitted = job.masks().count(parameter->name()) > 0;
    EXPECT_EQ(fitted, parameter->name().find("mlp.") != std::string::npos && parameter->name().find("layers.0.") == std::string::npos);
    if (fitted) continue;
    EXPECT_EQ(parameter->load().to_floats(), trial.model.graph.parameter(parameter->name()).load().to_floats()) << parameter->name();
  }
}

TEST(LeastSquares, RefusesWhatItCannotFit) {
  Trial blocks;
  blocks.sparsity = 0.17;
  PruneJob shorter = blocks.job("shortgpt");
  shorter.method().prune(shorter);
  ESP_EXPECT_USER_ERROR(repair_model(shorter, "ls", {}), "the 6 of the dense model");
  Trial nothing;
  PruneJob whole = nothing.job("magnitude");
  ESP_EXPECT_USER_ERROR(repair_model(whole, "ls", {}), "nothing to fit");
}

TEST(RepairOptions, AreCheckedBeforeAnyWork) {
  EXPECT_NO_THROW(check_repair("ls", {{"damp", "0.1"}, {"iterations", "5"}}));
  ESP_EXPECT_USER_ERROR(check_repair("ls", {{"steps", "5"}}), "unknown option 'repair.steps'; it takes damp, iterations");
  ESP_EXPECT_USER_ERROR(check_repair("ls", {{"dmap", "5"}}), "did you mean 'damp'");
  ESP_EXPECT_USER_ERROR(check_repair("ls", {{"iterations", "0"}}), "option repair.iterations");
  ESP_EXPECT_USER_ERROR(check_repair("ls", {{"damp", "inf"}}), "option repair.damp");
  ESP_EXPECT_USER_ERROR(check_repair("lora", {{"damp", "1"}}), "unknown option 'repair.damp'");
  ESP_EXPECT_USER_ERROR(check_repair("LS", {}), "none, ls, bn, lora, perp, finetune or distill");
}

}  // namespace
}  // namespace espalier::test
