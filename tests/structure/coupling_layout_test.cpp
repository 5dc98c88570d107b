// Coupling through convolutions and layout operators; SPA's golden file has more (tests/golden/spa.cpp).
#include <algorithm>
#include <set>

#include "espalier/structure/coupling.h"
#include "espalier/structure/surgery.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::List;
using test::Network;
using Sets = std::vector<int32_t>;

Sets sets(const Network& n, const std::string& param, size_t axis, const CouplingOptions& options = {}) {
  return find_coupling(n.graph, options).canonical_sets(param, axis);
}

int64_t distinct(const Sets& sets) { return std::ssize(std::set<int32_t>(sets.begin(), sets.end())); }

TEST(CouplingLayout, AResidualStageIsOneGroup) {
  const Network n = test::residual_network();
  const Coupling coupling = find_coupling(n.graph);
  ASSERT_EQ(coupling.groups.size(), 2u);
  EXPECT_EQ(coupling.groups[0].set_count, 10);
  EXPECT_EQ(coupling.groups[1].set_count, 12);
  for (const char* param : {"stem.w", "stem.b", "stem.bn.var.weight", "c2.w", "c2.bn.mean"})
    EXPECT_EQ(coupling.canonical_sets(param, 0), (Sets{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})) << param;
  EXPECT_TRUE(coupling.canonical_sets("stem.w", 1).empty());  // the image's channels
  EXPECT_TRUE(coupling.canonical_sets("stem.w", 2).empty());  // the kernel
}

// Split into 3 x 4, swapped, merged: index 3 a + b comes from channel 4 b + a, and nothing is tied.
TEST(CouplingLayout, AShuffleBetweenPlainConvolutionsTiesNothing) {
  const Network n = test::shuffle_network();
  EXPECT_EQ(distinct(sets(n, "a.w", 0)), 12);
  const Sets out = sets(n, "a.w", 0), in = sets(n, "b.w", 1);
  for (size_t a = 0; a < 4; ++a)
    for (size_t b = 0; b < 3; ++b) EXPECT_EQ(in[3 * a + b], out[4 * b + a]);
}

TEST(CouplingLayout, ACutShuffleBecomesAGatherOfWhatIsLeft) {
  Network n = test::shuffle_network();
  const Coupling coupling = find_coupling(n.graph);
  const auto& group = coupling.groups[0];
  ASSERT_EQ(group.set_count, 12);
  Graph rows = n.graph.clone();  // channels 4…7 are a row of the 3 x 4 grid, so the shapes can follow
  cut(rows, coupling, group.id, {0, 1, 2, 3, 8, 9, 10, 11});
  EXPECT_EQ(rows.node("shuffle1.apart").integers("shape"), (List{2, 2, 4, 4, 4}));
  EXPECT_EQ(rows.node("shuffle1").integers("shape"), (List{2, 8, 4, 4}));
  EXPECT_EQ(rows.node("shuffle1").op, "Reshape");
  Graph one = n.graph.clone();
  cut(one, coupling, group.id, {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  EXPECT_EQ(one.node("shuffle1").op, "Gather");
  // 0 4 8 1 5 9 2 6 10 3 7 11 without 1, renumbered
  EXPECT_EQ(one.node("shuffle1").integers("indices"), (List{0, 3, 7, 4, 8, 1, 5, 9, 2, 6, 10}));
  EXPECT_TRUE(
      std::none_of(one.nodes.begin(), one.nodes.end(), [](const Node& node) { return node.name == "shuffle1.apart"; }));
  EXPECT_EQ(one.node("shuffle2").op, "Reshape");  // untouched
}

TEST(CouplingLayout, PackedProjectionsByReshapeAreHeads) {
  const Network n = test::attention_network();
  const Coupling coupling = find_coupling(n.graph);
  const Sets packed = coupling.canonical_sets("qkv.w", 0), out = coupling.canonical_sets("project.w", 1);
  ASSERT_EQ(packed.size(), 48u);
  EXPECT_EQ(distinct(packed), 4);
  for (size_t i = 0; i < packed.size(); ++i) EXPECT_EQ(packed[i], out[i % 16]);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(out[i], out[i / 4 * 4]);
  EXPECT_EQ(distinct(coupling.canonical_sets("embed.w", 0)), 16);
  EXPECT_EQ(coupling.canonical_sets("positions.value", 2), coupling.canonical_sets("embed.w", 0));
  EXPECT_TRUE(coupling.canonical_sets("positions.value", 1).empty());
}

TEST(CouplingLayout, ACutOfHeadsRewritesTheShapes) {
  Network n = test::attention_network();
  const Coupling coupling = find_coupling(n.graph);
  const auto group =
      std::find_if(coupling.groups.begin(), coupling.groups.end(), [](const auto& g) { return g.set_count == 4; });
  ASSERT_NE(group, coupling.groups.end());
  cut(n.graph, coupling, group->id, {0, 3});
  EXPECT_EQ(n.graph.node("parts").integers("shape"), (List{2, 6, 3, 2, 4}));
  EXPECT_EQ(n.graph.node("joined").integers("shape"), (List{2, 6, 8}));
  EXPECT_EQ(n.graph.node("k").integers("indices"), List{1});
  EXPECT_EQ(n.graph.parameter("qkv.w").shape(), (Shape{24, 16}));
}

TEST(CouplingLayout, ExpandedKeysFollowTheirQueries) {
  Network n = test::grouped_query_network();
  const Coupling coupling = find_coupling(n.graph);
  const Sets q = coupling.canonical_sets("q.w", 0), k = coupling.canonical_sets("k.w", 0);
  EXPECT_EQ(distinct(k), 4);
  for (size_t i = 0; i < q.size(); ++i) EXPECT_EQ(q[i], k[i / 6 * 3]);
  cut(n.graph, coupling, 0, {1, 2, 3});
  EXPECT_EQ(n.graph.node("ke").integers("shape"), (List{2, 3, 2, 5, 3}));
  EXPECT_EQ(n.graph.node("kr").integers("shape"), (List{2, 6, 5, 3}));
  EXPECT_EQ(n.graph.node("joined").integers("shape"), (List{2, 5, -1}));
}

TEST(CouplingLayout, DepthwiseGroupsAreCounted) {
  Network n = test::depthwise_network();
  const Coupling coupling = find_coupling(n.graph);
  cut(n.graph, coupling, 0, {0, 1, 5});
  EXPECT_EQ(n.graph.node("depthwise").integer("group"), 3);
  EXPECT_EQ(n.graph.parameter("depthwise.w").shape(), (Shape{3, 1, 3, 3}));
  EXPECT_EQ(n.graph.node("multiplier").integer("group"), 10);
}

TEST(CouplingLayout, SliceAndGatherAreRenumbered) {
  Network n = test::concat_network();
  const Coupling coupling = find_coupling(n.graph);
  const CouplingGroup* group = nullptr;
  for (const auto& candidate : coupling.groups)
    if (candidate.set_count == 10) group = &candidate;
  ASSERT_TRUE(group);
  // of c's channels 0…9 the slice takes 1 3 5 7 9 and the gather 9 0 7 4
  Graph even = n.graph.clone();
  cut(even, coupling, group->id, {0, 1, 2, 5, 6, 7, 8, 9});
  EXPECT_EQ(even.node("sliced").op, "Slice");
  EXPECT_EQ(even.node("sliced").integers("starts"), List{1});
  EXPECT_EQ(even.node("sliced").integers("ends"), List{8});
  EXPECT_EQ(even.node("sliced").integers("steps"), List{2});
  cut(n.graph, coupling, group->id, {0, 1, 2, 3, 5, 6, 7, 8, 9});
  EXPECT_EQ(n.graph.node("sliced").op, "Gather");
  EXPECT_EQ(n.graph.node("sliced").integers("indices"), (List{1, 3, 4, 6, 8}));
  EXPECT_EQ(n.graph.node("gathered").integers("indices"), (List{8, 0, 6}));
  EXPECT_EQ(n.graph.node("left").integers("sizes"), (List{4, 4}));
}

// A width that ends up among the rows of a linear layer passes on; among the positions of a convolution it is frozen.
TEST(CouplingLayout, ChannelsOnOtherAxes) {
  Network n;
  n.input("x", {1, 5, 4});
  n.linear("x", "a", 6, 4);
  n.layout("Transpose", "a", "t", "perm", {0, 2, 1});
  n.linear("t", "mix", 7, 5);
  n.layout("Transpose", "mix", "back", "perm", {0, 2, 1});
  n.output(n.linear("back", "y", 2, 6));
  n.infer();
  EXPECT_EQ(distinct(sets(n, "a.w", 0)), 6);
  EXPECT_EQ(sets(n, "a.w", 0), sets(n, "y.w", 1));
  Network m;
  m.input("x", {1, 5, 4});
  m.linear("x", "a", 6, 4);
  m.param("w", {7, 5, 1});
  m.node("Conv", {"a"}, {"mix"}, {{"weight", "w"}});
  m.layout("Transpose", "mix", "back", "perm", {0, 2, 1});
  m.output(m.linear("back", "y", 2, 7));
  m.infer();
  EXPECT_TRUE(sets(m, "a.w", 0).empty());
  EXPECT_EQ(distinct(sets(m, "w", 0)), 7);
}

TEST(CouplingLayout, AMisalignedReshapeFreezesItsBlockOnly) {
  Network n;
  n.input("x", {1, 3, 2, 2});
  n.conv("x", "a", {6, 3, 1, 1});
  n.layout("Reshape", "a", "b", "shape", {1, 4, 6, 1});
  n.param("w", {2, 4, 1, 1});
  n.node("Conv", {"b"}, {"y"}, {{"weight", "w"}});
  n.output("y");
  n.infer();
  EXPECT_TRUE(find_coupling(n.graph).groups.empty());
  Network m;
  m.input("x", {1, 3, 2, 6});
  m.conv("x", "a", {6, 3, 1, 1});
  m.layout("Reshape", "a", "b", "shape", {1, 6, 3, 4});  // positions only
  m.conv("b", "y", {2, 6, 1, 1});
  m.output("y");
  m.infer();
  EXPECT_EQ(distinct(sets(m, "a.w", 0)), 6);
}

TEST(CouplingLayout, AnUnknownOperatorIsReportedWithTheDimsItFreezes) {
  Network n;
  n.input("x", {1, 3, 2, 2});
  n.conv("x", "a", {6, 3, 1, 1});
  n.node("Opaque", {"a"}, {"b"}, {}, {{"op_type", std::string("Mystery")}, {"shape.0", List{1, 6, 2, 2}}});
  n.conv("b", "y", {2, 6, 1, 1});
  n.output("y");
  n.infer();
  const Coupling coupling = find_coupling(n.graph);
  EXPECT_TRUE(coupling.groups.empty());
  ASSERT_EQ(coupling.unknown_operators.size(), 1u);
  EXPECT_EQ(coupling.unknown_operators[0], "Mystery b, with a.w axis 0");
}

TEST(CouplingLayout, ReducedAndNormalisedAxesAreFrozen) {
  for (const char* op : {"Softmax", "ReduceMean", "ArgMax"}) {
    Network n;
    n.input("x", {1, 4});
    n.linear("x", "a", 6, 4);
    n.node(op, {"a"}, {"y"}, {}, {{"axis", int64_t{1}}, {"axes", List{1}}});
    n.output(n.linear("y", "z", 2, std::string(op) == "Softmax" ? 6 : 1));
    n.infer();
    EXPECT_TRUE(sets(n, "a.w", 0).empty()) << op;
  }
}

// As many groups as channels: the same channel of every group is all of them.
TEST(CouplingLayout, ASetThatCoversAWholeDimIsCalledSo) {
  Network n;
  n.input("x", {1, 3, 2, 2});
  n.conv("x", "a", {6, 3, 1, 1});
  n.node("GroupNorm", {"a"}, {"b"}, {}, {{"num_groups", int64_t{6}}, {"epsilon", 1e-5}});
  n.conv("b", "y", {2, 6, 1, 1});
  n.output("y");
  n.infer();
  EXPECT_NE(
      describe_groups(find_coupling(n.graph)).find("1 sets, 3 members (cannot be cut: one set covers a whole dim)"),
      std::string::npos);
}

TEST(SurgeryLayout, ADimIsNotEmptiedThoughItsGroupIsNot) {
  Network n = test::concat_network();
  const Coupling coupling = find_coupling(n.graph);
  const auto& first = coupling.groups[0];  // a and b side by side
  ASSERT_EQ(first.set_count, 12);
  ESP_EXPECT_USER_ERROR(cut(n.graph, coupling, first.id, {0, 1, 2, 3, 4, 5, 6}), "leave nothing of b.w axis 0");
  EXPECT_EQ(n.graph.parameter("a.w").shape()[0], 7);
}

TEST(SurgeryLayout, GroupsThatMeetInAShapeAreNotCutOneByOne) {
  Network n = test::shuffle_network();
  const Coupling coupling = find_coupling(n.graph);
  const std::vector<int64_t> rows{0, 1, 2, 3, 4, 5, 6, 7};
  cut(n.graph, coupling, 0, rows);
  EXPECT_THROW(cut(n.graph, coupling, 0, rows), Bug);
}

}  // namespace
}  // namespace espalier
