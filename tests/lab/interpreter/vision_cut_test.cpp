// The house law on networks with convolutions and layout operators: the masked model computes what the cut one does,
// for every group of each at 10, 30 and 70 %.
#include <gtest/gtest.h>

#include <set>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"
#include "espalier/structure/surgery.h"
#include "tests/structure/random_cuts.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier::vision_cut_test {
namespace {

struct NetworkCase {
  const char* name;
  test::Network (*build)();
};

const NetworkCase kNetworks[] = {
    {"ResidualBatchNorm", test::residual_network},   {"Depthwise", test::depthwise_network},
    {"GroupedConv", test::grouped_network},          {"GroupNorm", test::group_norm_network},
    {"ConcatPadSliceFlatten", test::concat_network}, {"ChannelShuffle", test::shuffle_network},
    {"SqueezeAndExcite", test::gated_network},       {"Upsampling", test::upsampling_network},
    {"PackedAttention", test::attention_network},    {"GroupedQueries", test::grouped_query_network}};

at::Tensor run(const Graph& graph) {
  Weights weights(graph);
  const Shape shape = input_shapes(graph)[0];
  return Interpreter(graph, weights).forward(at::sin(at::arange(element_count(shape), at::kFloat) * 0.37).view(shape));
}

double distance(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

// A Slice or Gather must keep one of the indices that it picks; such a cut is refused, and leaves the graph as it was.
bool cut_unless_emptied(Graph& graph, const Coupling& coupling, const GroupCut& group) {
  try {
    cut(graph, coupling, {group});
    return true;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("would leave none of the"), std::string::npos) << error.what();
    return false;
  }
}

class VisionCut : public ::testing::TestWithParam<NetworkCase> {};

TEST_P(VisionCut, MaskedEqualsCut) {
  const test::Network network = GetParam().build();
  const Coupling coupling = find_coupling(network.graph);
  const at::Tensor dense = run(network.graph);
  int compared = 0;
  for (const auto& group : coupling.groups) {
    double changed = 0;  // a channel that never fires may go unnoticed, but not all of them
    for (double share : {0.1, 0.3, 0.7}) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        Rng rng(seed, group.label);
        const auto keep = test::random_keep(group.set_count, share, rng);
        if (group.set_count < 2 || !test::leaves_every_dim(group, keep)) continue;
        Mask mask = Mask::for_model(network.graph);
        mask.remove_units(group, keep);
        const at::Tensor masked = run(apply_mask(network.graph, mask));
        Graph smaller = network.graph.clone();
        if (!cut_unless_emptied(smaller, coupling, test::cut_of(group, keep))) continue;
        EXPECT_LT(smaller.parameter_count(), network.graph.parameter_count());
        EXPECT_LT(distance(masked, run(smaller)), 1e-5) << group.label << " " << share << " seed " << seed;
        changed = std::max(changed, distance(masked, dense));
        ++compared;
      }
    }
    EXPECT_TRUE(changed > 1e-6 || group.set_count < 2) << group.label;
  }
  EXPECT_GE(compared, 15);
}

TEST_P(VisionCut, AllGroupsAtOnceAndASecondTime) {
  const test::Network network = GetParam().build();
  Graph smaller = network.graph.clone();
  for (uint64_t round = 0; round < 2; ++round) {
    const Coupling coupling = find_coupling(smaller);
    Mask mask = Mask::for_model(smaller);
    std::vector<GroupCut> cuts;
    for (const auto& group : coupling.groups) {
      Rng rng(round, group.label);
      const auto keep = test::random_keep(group.set_count, 0.3, rng);
      if (group.set_count < 2 || !test::leaves_every_dim(group, keep)) continue;
      mask.remove_units(group, keep);
      cuts.push_back(test::cut_of(group, keep));
    }
    ASSERT_FALSE(cuts.empty());
    const at::Tensor masked = run(apply_mask(smaller, mask));
    cut(smaller, coupling, cuts);
    EXPECT_LT(distance(masked, run(smaller)), 1e-5) << "round " << round;
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, VisionCut, ::testing::ValuesIn(kNetworks),
                         [](const auto& info) { return std::string(info.param.name); });

// A mask file does not hold the policy, so the slices are zeroed here.
Graph zeroed(const Graph& graph, const CouplingGroup& group, const std::vector<uint8_t>& keep) {
  Graph result = graph.clone();
  for (const auto& member : group.members) {
    Parameter& parameter = result.parameter(member.param);
    const Tensor dense = parameter.load();
    Tensor values = Tensor::from_floats(dense.shape(), dense.to_floats());
    int64_t inner = 1;
    for (size_t d = member.axis + 1; d < dense.shape().size(); ++d) inner *= dense.dim(d);
    auto elements = values.mutable_as<float>();
    for (size_t i = 0; i < elements.size(); ++i) {
      const int32_t set = member.set_of_index[i / static_cast<size_t>(inner) % member.set_of_index.size()];
      if (set >= 0 && !keep[static_cast<size_t>(set)]) elements[i] = 0;
    }
    parameter.assign(std::move(values));
  }
  return result;
}

TEST(VisionCutPolicy, WholeConvolutionGroupsGo) {
  const test::Network network = test::grouped_network();
  CouplingOptions options;
  options.group_conv = GroupConvPolicy::kDropGroups;
  const Coupling coupling = find_coupling(network.graph, options);
  const CouplingGroup* group = nullptr;
  for (const auto& candidate : coupling.groups)
    if (candidate.set_count == 3) group = &candidate;
  ASSERT_TRUE(group);
  for (const auto& keep : std::vector<std::vector<uint8_t>>{{1, 0, 1}, {0, 0, 1}, {0, 1, 1}}) {
    Graph smaller = network.graph.clone();
    cut(smaller, coupling, {test::cut_of(*group, keep)});
    EXPECT_EQ(smaller.node("grouped").integer("group"), std::count(keep.begin(), keep.end(), 1));
    EXPECT_LT(distance(run(zeroed(network.graph, *group, keep)), run(smaller)), 1e-5);
  }
}

TEST(VisionCutPolicy, TheInnerFactorOfASplit) {
  const test::Network network = test::grouped_query_network();
  CouplingOptions options;
  options.split = SplitPolicy::kInner;
  const Coupling coupling = find_coupling(network.graph, options);
  // With the inner factor live, head sizes may shrink: queries with keys, and values apart.
  std::set<int64_t> sizes;
  for (const auto& group : coupling.groups) {
    sizes.insert(group.set_count);
    if (group.set_count != 3) continue;
    const std::vector<uint8_t> keep{1, 0, 1};
    Graph smaller = network.graph.clone();
    cut(smaller, coupling, {test::cut_of(group, keep)});
    EXPECT_LT(distance(run(zeroed(network.graph, group, keep)), run(smaller)), 1e-5) << group.label;
  }
  EXPECT_TRUE(sizes.count(3));
}

}  // namespace
}  // namespace espalier::vision_cut_test
