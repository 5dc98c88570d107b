// The house law on every vision family and on BERT: the masked model computes what the cut one does, for every group at
// 10, 30 and 70 %; and the directory that a cut model is written to computes exactly that.
#include <gtest/gtest.h>

#include "espalier/families/output.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"
#include "espalier/structure/surgery.h"
#include "tests/families/vision_models.h"
#include "tests/structure/random_cuts.h"
#include "tests/support.h"

namespace espalier::vision_families_cut_test {
namespace {

at::Tensor run(const Graph& graph) {
  Weights weights(graph);
  Shape shape = input_shapes(graph)[0];
  const int64_t count = element_count(shape);
  if (shape.size() == 2)
    return Interpreter(graph, weights).forward((at::arange(count) * 7 + 3).remainder(31).view(shape));
  return Interpreter(graph, weights).forward(at::sin(at::arange(count, at::kFloat) * 0.37).view(shape));
}

// Of unnormalised networks outputs may be large, so the distance is one in their scale.
double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / std::max(1.0, a.abs().max().item<double>());
}

class VisionFamilies : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { model_ = test::load_tiny_vision(dir_ / "model", test::tiny_vision_configs().at(GetParam())); }

  // Cuts a random share of every group.
  void cut_everything(Graph& graph, double share, uint64_t seed) {
    const Coupling coupling = find_coupling(graph);
    std::vector<GroupCut> cuts;
    for (const auto& group : coupling.groups) {
      Rng rng(seed, group.label);
      const auto keep = test::random_keep(group.set_count, share, rng);
      if (group.set_count > 1 && test::leaves_every_dim(group, keep)) cuts.push_back(test::cut_of(group, keep));
    }
    ASSERT_FALSE(cuts.empty());
    cut(graph, coupling, cuts);
  }

  void expect_reloads() {
    const at::Tensor expected = run(model_.graph);
    const auto directory = dir_ / "cut";
    std::filesystem::create_directories(directory);
    write_model(model_, directory);
    verify_written(directory, model_.graph);
    const Model again = load_model(directory);
    EXPECT_EQ(distance(run(again.graph), expected), 0);
    EXPECT_EQ(again.graph.block_count, model_.graph.block_count);
    EXPECT_EQ(again.graph.parameter_count(), model_.graph.parameter_count());
    // The configuration alone builds the same shapes for fresh weights.
    const Graph fresh = again.family->fresh(again.config, 1, "config");
    EXPECT_EQ(fresh.parameter_count(), model_.graph.parameter_count());
    for (const auto& parameter : fresh.parameters())
      EXPECT_EQ(parameter->shape(), model_.graph.parameter(parameter->name()).shape()) << parameter->name();
  }

  test::TempDir dir_;
  Model model_;
};

TEST_P(VisionFamilies, MaskedEqualsCut) {
  const Coupling coupling = find_coupling(model_.graph);
  EXPECT_TRUE(coupling.unknown_operators.empty());
  int compared = 0;
  for (const auto& group : coupling.groups) {
    if (group.set_count < 2) continue;
    for (double share : {0.1, 0.3, 0.7}) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        Rng rng(seed, group.label);
        const auto keep = test::random_keep(group.set_count, share, rng);
        if (!test::leaves_every_dim(group, keep)) continue;
        Mask mask = Mask::for_model(model_.graph);
        mask.remove_units(group, keep);
        Graph smaller = model_.graph.clone();
        cut(smaller, coupling, {test::cut_of(group, keep)});
        EXPECT_LT(smaller.parameter_count(), model_.graph.parameter_count());
        EXPECT_LT(distance(run(apply_mask(model_.graph, mask)), run(smaller)), 1e-5)
            << group.label << " " << share << " seed " << seed;
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 15);
}

TEST_P(VisionFamilies, CutDirectoriesComputeTheSame) {
  const at::Tensor dense = run(model_.graph);
  cut_everything(model_.graph, 0.3, 1);
  EXPECT_GT(distance(run(model_.graph), dense), 1e-6);
  expect_reloads();
}

TEST_P(VisionFamilies, ASecondCutDoesToo) {
  cut_everything(model_.graph, 0.2, 2);
  const auto directory = dir_ / "first";
  std::filesystem::create_directories(directory);
  write_model(model_, directory);
  model_ = load_model(directory);
  cut_everything(model_.graph, 0.3, 3);
  expect_reloads();
}

TEST_P(VisionFamilies, RemovedBranchesStayAway) {
  const auto branches = find_sublayers(model_.graph);
  if (model_.graph.block_count == 0) {
    EXPECT_TRUE(branches.empty());
    return;
  }
  ASSERT_EQ(branches.size(), 2 * static_cast<size_t>(model_.graph.block_count));
  const std::string prefix = model_.family->block_prefix(model_.graph);
  Graph zeroed = model_.graph.clone();
  // Both branches of the last block and the first attention.
  const std::vector<SubLayer> gone{branches[0], branches[branches.size() - 2], branches.back()};
  zero_sublayers(zeroed, gone);
  remove_sublayers(model_.graph, gone, prefix);
  EXPECT_LT(distance(run(zeroed), run(model_.graph)), 1e-5);
  expect_reloads();
}

TEST_P(VisionFamilies, AnyBatchRuns) {
  if (input_shapes(model_.graph)[0].size() == 2) return;
  Weights weights(model_.graph);
  Shape shape = input_shapes(model_.graph)[0];
  shape[0] = 3;
  const at::Tensor pixels = at::sin(at::arange(element_count(shape), at::kFloat) * 0.11).view(shape);
  const at::Tensor all = Interpreter(model_.graph, weights).forward(pixels);
  for (int64_t i = 0; i < 3; ++i)
    EXPECT_LT(distance(Interpreter(model_.graph, weights).forward(pixels.narrow(0, i, 1)), all.narrow(0, i, 1)), 1e-5);
}

std::vector<std::string> names() {
  std::vector<std::string> list;
  for (const auto& [name, config] : test::tiny_vision_configs()) list.push_back(name);
  return list;
}

INSTANTIATE_TEST_SUITE_P(Models, VisionFamilies, ::testing::ValuesIn(names()),
                         [](const auto& model) { return model.param; });

}  // namespace
}  // namespace espalier::vision_families_cut_test
