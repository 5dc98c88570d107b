// OBSPA on whole graphs: no layer is worse for the update than for zeros, and what remains computes what the working
// graph did.
#include "espalier/lab/repair/obspa.h"

#include <gtest/gtest.h>

#include "espalier/lab/measure/probe.h"
#include "espalier/lab/repair/graph_least_squares.h"
#include "espalier/lab/repair/obs.h"
#include "espalier/lab/repair/obs_factor.h"
#include "espalier/lab/repair/repair.h"
#include "tests/lab/methods/pictures.h"

namespace espalier {
namespace {

std::vector<GraphInputs> inputs_of(const Model& model) {
  std::vector<GraphInputs> batches;
  for (uint64_t seed = 0; seed < 3; ++seed) batches.push_back(probe_inputs(model, seed, 8));
  return batches;
}

// Every third set of every group that has three.
std::vector<GroupCut> some_cuts(const Coupling& coupling) {
  std::vector<GroupCut> cuts;
  for (const auto& group : coupling.groups) {
    if (group.set_count < 3) continue;
    GroupCut cut{group.id, {}};
    for (int64_t set = 0; set < group.set_count; ++set)
      if (set % 3 != 1) cut.kept.push_back(set);
    cuts.push_back(cut);
  }
  return cuts;
}

TEST(Obspa, NoUpdateIsWorseThanZeros) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed, "obspa");
    const int64_t inputs = 4 + static_cast<int64_t>(rng.below(12)), columns = 2 + static_cast<int64_t>(rng.below(40));
    at::Tensor x = at::empty({inputs, columns}, at::kDouble), w = at::empty({5, inputs}, at::kDouble);
    for (auto* t : {&x, &w})
      for (int64_t i = 0; i < t->numel(); ++i) t->data_ptr<double>()[i] = rng.normal();
    const at::Tensor gram = x.matmul(x.t()), removed = at::tensor(rng.sample(inputs, inputs / 2), at::kLong);
    const at::Tensor updated = obs_remove_columns(w, damped_inverse(2 * gram, 0.01, "w"), removed);
    EXPECT_LE(output_error(w, updated, gram), output_error(w, w.index_fill(1, removed, 0), gram) * (1 + 1e-9)) << seed;
  }
}

class ObspaOfFamilies : public ::testing::TestWithParam<const char*> {};

TEST_P(ObspaOfFamilies, MovesWeightsAndCuts) {
  test::PictureTrial trial(GetParam());
  const auto batches = inputs_of(trial.model);
  const Coupling coupling = find_coupling(trial.model.graph);
  const auto cuts = some_cuts(coupling);
  Graph zeroed = trial.model.graph.clone(), moved = trial.model.graph.clone();
  obspa_update(zeroed, coupling, cuts, batches, {.update = false});
  const auto updates = obspa_update(moved, coupling, cuts, batches, {});
  ASSERT_FALSE(updates.empty());
  for (const auto& update : updates) EXPECT_LE(update.err_updated, update.err_zeroed * (1 + 1e-6) + 1e-9) << update.node;
  for (Graph* graph : {&zeroed, &moved}) {
    const at::Tensor before = trial.logits(*graph);
    cut(*graph, coupling, cuts);
    EXPECT_LT(test::distance(before, trial.logits(*graph)), 1e-4);
  }
  const auto error = [&](const Graph& graph) {
    double sum = 0;
    for (const auto& batch : batches) sum += (run_graph(graph, batch)[0] - run_graph(trial.model.graph, batch)[0]).square().sum().item<double>();
    return sum;
  };
  EXPECT_LT(error(moved), error(zeroed));
}

INSTANTIATE_TEST_SUITE_P(Families, ObspaOfFamilies, ::testing::Values("ResNetBasic", "ResNetCifar", "VggBatchNormCifar", "MobileNetV2", "SqueezeNet11"));

TEST(Obspa, RenewsStatisticsOnTheWay) {
  test::PictureTrial trial("VggBatchNormCifar");
  const auto batches = inputs_of(trial.model);
  obspa_update(trial.model.graph, find_coupling(trial.model.graph), {}, batches, {.norms = true});
  // What the first norm gives on the same pictures has mean 0 and variance 1, before its scale and bias.
  Weights weights(trial.model.graph);
  NodeSweep sweep(trial.model.graph, batches);
  while (sweep.node().op != "BatchNorm") sweep.advance();
  const Node& norm = sweep.node();
  at::Tensor x;
  for (size_t b = 0; b < batches.size(); ++b) x = x.defined() ? at::cat({x, sweep.input(b)}) : sweep.input(b);
  EXPECT_LT((x.mean({0, 2, 3}) - weights.get(norm.params.at("mean"))).abs().max().item<double>(), 1e-4);
  EXPECT_LT((x.var({0, 2, 3}, false) / weights.get(norm.params.at("var")) - 1).abs().max().item<double>(), 1e-3);
}

TEST(Obspa, ScoresAreSquaresByTheInverseHessian) {
  test::PictureTrial trial("VggBatchNormCifar");
  const auto batches = inputs_of(trial.model);
  const Node* first = nullptr;
  for (const auto& node : trial.model.graph.nodes)
    if (!first && node.op == "Conv") first = &node;
  const ElementScores scores = obs_element_scores(trial.model.graph, batches, {.columns = 1 << 20});
  at::Tensor gram;
  for (const auto& batch : batches) {
    const at::Tensor columns = at::im2col(batch[0].to(at::kDouble), {3, 3}, {1, 1}, {1, 1}, {1, 1});
    const at::Tensor product = at::bmm(columns, columns.transpose(1, 2)).sum(0);
    gram = gram.defined() ? gram + product : product;
  }
  const at::Tensor w = Weights(trial.model.graph).get(first->params.at("weight")).to(at::kDouble);
  const at::Tensor expected = w.flatten(1).square() / damped_inverse(2 * gram, 0.01, "w").diagonal();
  EXPECT_LT((scores(first->params.at("weight")).flatten(1) / expected - 1).abs().max().item<double>(), 1e-3);
}

// The pruned model is nearer to the dense one after the fit, on the pictures that it was fitted to.
TEST(GraphLeastSquares, BringsACutModelNearer) {
  for (const char* family : {"ResNetCifar", "VitPacked", "MobileNetV2"}) {
    test::PictureTrial trial(family);
    trial.sparsity = 0.25;
    trial.pictures = 48;
    const Graph dense = trial.model.graph.clone();
    PruneJob job = trial.job("l1-channels");
    job.method().prune(job);
    const at::Tensor pixels = job.image_samples(48).pixels;
    const auto error = [&] { return (run_graph(trial.model.graph, {pixels})[0] - run_graph(dense, {pixels})[0]).square().sum().item<double>(); };
    const double before = error();
    repair_model(job, "ls", {});
    EXPECT_LT(error(), before) << family;
  }
}

TEST(GraphLeastSquares, KeepsMasks) {
  test::PictureTrial trial("VggBatchNormCifar");
  PruneJob job = trial.job("magnitude");
  job.method().prune(job);
  repair_model(job, "ls", {});
  for (const auto& [name, mask] : job.masks()) {
    const at::Tensor weight = Weights(trial.model.graph).get(name).contiguous();
    for (int64_t i = 0; i < weight.numel(); ++i)
      ASSERT_TRUE(mask.keeps(i) || weight.data_ptr<float>()[i] == 0) << name;
  }
}

}  // namespace
}  // namespace espalier
