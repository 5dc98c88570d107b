// Methods that remove channels, on every vision family: budgets, limits, reports, and what is refused.
#include <gtest/gtest.h>

#include "espalier/lab/methods/plan.h"
#include "tests/lab/methods/pictures.h"
#include "espalier/structure/surgery.h"

namespace espalier {
namespace {

double left(const test::PictureTrial& trial, const Model& dense, bool flops) {
  const Size now = model_size(trial.model.graph, trial.model), before = model_size(dense.graph, dense);
  return flops ? now.flops / before.flops : static_cast<double>(now.params) / static_cast<double>(before.params);
}

class ChannelMethods : public ::testing::TestWithParam<std::string> {};

TEST_P(ChannelMethods, MeetTheirBudget) {
  for (const std::string of : {"params", "flops"}) {
    test::PictureTrial trial(GetParam());
    const Model dense = load_model(trial.directory / "model");
    trial.sparsity = 0.2;
    trial.of = of;
    trial.prune("08-spa");
    EXPECT_GE(trial.reached, 0.2) << of;
    EXPECT_LT(trial.reached, 0.45) << of;
    EXPECT_NEAR(left(trial, dense, of == "flops"), 1 - trial.reached, 1e-9) << of;
    EXPECT_FALSE(trial.removed.empty());
    EXPECT_TRUE(at::isfinite(trial.logits(trial.model.graph)).all().item<bool>());
  }
}

// The cut model computes what the dense one does with the removed slices set to zero, where no norm looks across them.
TEST_P(ChannelMethods, CutWhatAMaskHides) {
  test::PictureTrial trial(GetParam());
  const Coupling coupling = find_coupling(trial.model.graph);
  Mask mask = Mask::for_model(trial.model.graph);
  const Graph dense = trial.model.graph.clone();
  trial.prune("l1-channels");
  for (const auto& entry : trial.findings.at("groups")) {
    const CouplingGroup* group = coupling.find(entry.at("label").get<std::string>());
    ASSERT_NE(group, nullptr);
    std::vector<uint8_t> keep(static_cast<size_t>(group->set_count), 1);
    for (const auto& set : entry.at("removed")) keep[set.get<size_t>()] = 0;
    mask.remove_units(*group, keep);
  }
  EXPECT_LT(test::distance(trial.logits(apply_mask(dense, mask)), trial.logits(trial.model.graph)), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Families, ChannelMethods,
                         ::testing::Values("ResNetBasic", "ResNetBottleneck", "ResNetCifar", "WideResNet", "Vgg", "MobileNetV1", "MobileNetV2", "SqueezeNet10",
                                           "ShuffleNet", "Vit", "VitPacked", "VitPostNorm", "Swin"));

TEST(ChannelRemoval, RoundsKeptCountsUp) {
  test::PictureTrial trial("VggBatchNormCifar");
  trial.options["round-to"] = "4";
  trial.sparsity = 0.3;
  trial.prune("l1-channels");
  for (const auto& group : trial.findings.at("groups")) {
    const auto kept = group.at("kept").size();
    EXPECT_TRUE(kept % 4 == 0 || group.at("removed").empty()) << group;
  }
}

TEST(ChannelRemoval, LocalScopeTakesTheSameShareOfEveryGroup) {
  test::PictureTrial trial("VggBatchNormCifar");
  trial.options["scope"] = "layer";
  trial.sparsity = 0.4;
  trial.prune("l2-channels");
  for (const auto& group : trial.findings.at("groups")) {
    const double share = group.at("removed").size() / group.at("sets").get<double>();
    EXPECT_NEAR(share, 0.25, 0.16) << group;
  }
}

TEST(ChannelRemoval, StepsAddUp) {
  test::PictureTrial trial("ResNetCifar");
  trial.options["steps"] = "3";
  trial.prune("l1-channels");
  EXPECT_GE(trial.reached, 0.3);
  for (const auto& group : trial.findings.at("groups")) {
    EXPECT_EQ(group.at("kept").size() + group.at("removed").size(), group.at("sets").get<size_t>());
    for (const auto& member : group.at("members")) EXPECT_TRUE(member.is_string());
  }
}

TEST(ChannelRemoval, GroupsRestrictTheChoice) {
  test::PictureTrial trial("Vit");
  trial.options["groups"] = "neurons";
  trial.sparsity = 0.1;
  trial.prune("l1-channels");
  for (const auto& entry : trial.removed) EXPECT_EQ(entry.at("unit"), "neuron");
}

TEST(ChannelRemoval, SaysHowFarItCanGo) {
  test::PictureTrial trial("VggBatchNormCifar");
  trial.sparsity = 0.999;
  trial.of = "flops";
  trial.align = 4;
  const std::string message = message_of(trial, "l1-channels");
  EXPECT_NE(message.find("at most 0."), std::string::npos) << message;
  EXPECT_NE(message.find("a speed-up of"), std::string::npos) << message;
  EXPECT_NE(message.find("can give no more (min-channels 1, round-to 4)"), std::string::npos) << message;
}

TEST(ChannelRemoval, RefusesWhatItDoesNotKnow) {
  test::PictureTrial trial("VggBatchNormCifar");
  trial.options = {{"criterion", "l3"}};
  EXPECT_NE(message_of(trial, "08-spa").find("fpgm"), std::string::npos);
  trial.options = {{"min-channels", "0"}};
  EXPECT_NE(message_of(trial, "08-spa").find("at least 1"), std::string::npos);
  trial.options = {{"groups", "channels"}};
  EXPECT_NE(message_of(trial, "08-spa").find("residual"), std::string::npos);
  test::PictureTrial without_norms("Vgg");
  EXPECT_NE(message_of(without_norms, "bn-scale").find("batch norm"), std::string::npos);
  without_norms.images = false;
  EXPECT_NE(message_of(without_norms, "taylor-channels").find("--calib"), std::string::npos);
}

TEST(ChannelRemoval, EveryCriterionRuns) {
  for (const char* criterion : {"l1", "l2", "taylor", "fisher", "grasp", "bn-scale", "fpgm", "random", "obs"}) {
    test::PictureTrial trial("ResNetBasic");
    trial.options = {{"criterion", criterion}, {"samples", "16"}};
    trial.prune("08-spa");
    EXPECT_GE(trial.reached, 0.3) << criterion;
  }
}

TEST(ChannelRemoval, TrialsReachWhatRunsReach) {
  for (const char* method : {"08-spa", "obspa", "30-beta-rank", "35-precropping", "random-channels"}) {
    test::PictureTrial real("ResNetCifar"), trial("ResNetCifar");
    trial.trial = true;
    trial.images = false;
    real.prune(method);
    trial.prune(method);
    EXPECT_NEAR(trial.reached, real.reached, 0.06) << method;
  }
}

TEST(Cut, TakesListsOfGroupsAndOfDims) {
  test::PictureTrial trial("VggBatchNormCifar");
  const Coupling coupling = find_coupling(trial.model.graph);
  const CouplingGroup& group = coupling.groups[0];
  trial.sparsity = 0;
  trial.options["remove"] = fmt::format("{}:0,2;{}@0:1", group.label, coupling.groups[1].members[0].param);
  trial.prune("cut");
  EXPECT_EQ(trial.findings.at("groups")[0].at("removed"), Json({0, 2}));
  EXPECT_EQ(trial.findings.at("groups")[1].at("removed"), Json({1}));
  EXPECT_GT(trial.reached, 0);
}

TEST(Cut, TakesAStoredMask) {
  test::PictureTrial trial("ResNetBasic");
  const Coupling coupling = find_coupling(trial.model.graph);
  Mask mask = Mask::for_model(trial.model.graph);
  std::vector<uint8_t> keep(static_cast<size_t>(coupling.groups[1].set_count), 1);
  keep[1] = 0;
  mask.remove_units(coupling.groups[1], keep);
  const at::Tensor expected = trial.logits(apply_mask(trial.model.graph, mask));
  mask.save(trial.directory / "mask.safetensors");
  trial.sparsity = 0;
  trial.options["mask"] = (trial.directory / "mask.safetensors").string();
  trial.prune("cut");
  EXPECT_LT(test::distance(expected, trial.logits(trial.model.graph)), 1e-4);
  test::PictureTrial other("Vgg");
  other.sparsity = 0;
  other.options = trial.options;
  EXPECT_NE(message_of(other, "cut"), "");
}

TEST(Cut, RefusesWhatIsNotThere) {
  test::PictureTrial trial("VggBatchNormCifar");
  trial.sparsity = 0;
  EXPECT_NE(message_of(trial, "cut").find("remove=NAME"), std::string::npos);
  for (const char* list : {"nothing:1", "features.0.weight@0:99", "features.0.weight@1:0", "features.0.weight@0:x", "features.0.weight@0"}) {
    trial.options["remove"] = list;
    EXPECT_NE(message_of(trial, "cut"), "") << list;
  }
}

}  // namespace
}  // namespace espalier
