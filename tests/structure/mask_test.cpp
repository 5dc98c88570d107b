#include "espalier/structure/mask.h"

#include <algorithm>

#include "espalier/structure/surgery.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

class MaskTest : public ::testing::Test {
 protected:
  MaskTest() : model_(test::load_tiny(dir_ / "m", "llama")), coupling_(find_coupling(model_.graph)) {}

  Mask full_mask() const {
    Mask mask = Mask::for_model(model_.graph);
    std::vector<uint8_t> keep(48 * 32, 1);
    keep[0] = keep[9] = keep[48 * 32 - 1] = 0;
    mask.weights["model.layers.0.mlp.up_proj.weight"] = WeightMask({48, 32}, keep);
    mask.remove_units(*coupling_.find("blocks.1.heads"), {0, 1});
    std::vector<uint8_t> neurons(48, 1);
    neurons[3] = neurons[40] = 0;
    mask.remove_units(*coupling_.find("blocks.2.neurons"), neurons);
    mask.branches = {{0, SubLayer::Kind::kAttention}};
    return mask;
  }

  // The saved mask with its metadata and tensors changed by `change`.
  std::filesystem::path tampered(const std::function<void(Json&)>& change,
                                 const std::vector<uint8_t>& unit_bits = {0x02}) {
    const auto path = dir_ / "tampered.safetensors";
    Mask mask = Mask::for_model(model_.graph);
    mask.remove_units(*coupling_.find("blocks.1.heads"), {0, 1});
    mask.save(path);
    Json header = parse_json(SafetensorsFile::open(path)->metadata().at("espalier.mask"), "mask");
    change(header);
    Tensor bits(DType::kU8, {static_cast<int64_t>(unit_bits.size())});
    std::copy(unit_bits.begin(), unit_bits.end(), bits.mutable_as<uint8_t>().begin());
    SafetensorsWriter writer(path, {{"units/blocks.1.heads", DType::kU8, bits.shape()}},
                             {{"espalier.mask", header.dump()}});
    writer.write("units/blocks.1.heads", bits);
    writer.commit();
    return path;
  }

  test::TempDir dir_;
  Model model_;
  Coupling coupling_;
};

TEST_F(MaskTest, BitsKeepEveryElementApart) {
  const std::vector<uint8_t> keep{1, 0, 0, 1, 1, 0, 1, 0, 0, 1};
  const WeightMask mask({2, 5}, keep);
  ASSERT_EQ(mask.bits.size(), 2u);
  EXPECT_EQ(mask.bits[0], 0b01011001);
  EXPECT_EQ(mask.bits[1], 0b10);
  for (size_t i = 0; i < keep.size(); ++i) EXPECT_EQ(mask.keeps(static_cast<int64_t>(i)), keep[i] != 0);
  EXPECT_EQ(mask.removed(), 5);
}

TEST_F(MaskTest, SavedAndLoadedIsTheSame) {
  const Mask mask = full_mask();
  mask.save(dir_ / "mask.safetensors");
  const Mask read = Mask::load(dir_ / "mask.safetensors");
  EXPECT_EQ(read.model, mask.model);
  EXPECT_EQ(read.head_unit, mask.head_unit);
  ASSERT_EQ(read.weights.size(), 1u);
  EXPECT_EQ(read.weights.begin()->first, mask.weights.begin()->first);
  EXPECT_EQ(read.weights.begin()->second.shape, (Shape{48, 32}));
  EXPECT_EQ(read.weights.begin()->second.bits, mask.weights.begin()->second.bits);
  ASSERT_EQ(read.units.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read.units[i].label, mask.units[i].label);
    EXPECT_EQ(read.units[i].kind, mask.units[i].kind);
    EXPECT_EQ(read.units[i].block, mask.units[i].block);
    EXPECT_EQ(read.units[i].keep, mask.units[i].keep);
  }
  EXPECT_EQ(read.branches, mask.branches);
  EXPECT_NO_THROW(check_fits(read, model_.graph, "mask"));
}

TEST_F(MaskTest, AnEmptyMaskIsAFileToo) {
  Mask::for_model(model_.graph, HeadUnit::kQueryHead).save(dir_ / "empty.safetensors");
  const Mask read = Mask::load(dir_ / "empty.safetensors");
  EXPECT_TRUE(read.empty());
  EXPECT_EQ(read.head_unit, HeadUnit::kQueryHead);
}

TEST_F(MaskTest, RemembersHowItsGroupsWereFound) {
  Mask mask = Mask::for_model(model_.graph);
  mask.group_conv = GroupConvPolicy::kDropGroups;
  mask.split = SplitPolicy::kInner;
  mask.save(dir_ / "policies.safetensors");
  const CouplingOptions read = Mask::load(dir_ / "policies.safetensors").coupling_options();
  EXPECT_EQ(read.group_conv, GroupConvPolicy::kDropGroups);
  EXPECT_EQ(read.split, SplitPolicy::kInner);
  EXPECT_EQ(read.head_unit, HeadUnit::kKvGroup);
}

TEST_F(MaskTest, AnotherModelsMaskIsRefused) {
  test::TinyOptions wider;
  wider.ffn = 56;
  const Model other = test::load_tiny(dir_ / "other", "llama", wider);
  ESP_EXPECT_USER_ERROR(check_fits(full_mask(), other.graph, "m.safetensors"),
                        "m.safetensors: model: expected a mask of this model");
  EXPECT_THROW(apply_mask(other.graph, full_mask()), UserError);
}

TEST_F(MaskTest, UnitsAndBranchesThatAreNotThereAreRefused) {
  Mask mask = Mask::for_model(model_.graph);
  mask.units = {{"blocks.7.heads", GroupKind::kHeads, 7, {1}}};
  ESP_EXPECT_USER_ERROR(check_fits(mask, model_.graph, "m"), "no group 'blocks.7.heads'");
  mask.units = {{"blocks.1.heads", GroupKind::kHeads, 1, {1, 1, 0}}};
  ESP_EXPECT_USER_ERROR(check_fits(mask, model_.graph, "m"), "expected 2, found 3");
  mask.units = {{"blocks.1.heads", GroupKind::kHeads, 1, {0, 0}}};
  ESP_EXPECT_USER_ERROR(check_fits(mask, model_.graph, "m"), "none of its 2 sets");
  mask.units.clear();
  mask.branches = {{3, SubLayer::Kind::kFfn}};
  ESP_EXPECT_USER_ERROR(check_fits(mask, model_.graph, "m"), "block 3 of the model has no ffn branch");
  mask.branches.clear();
  mask.weights["model.norm.weight"] = WeightMask({31}, std::vector<uint8_t>(31, 1));
  ESP_EXPECT_USER_ERROR(check_fits(mask, model_.graph, "m"), "expected [32], found [31]");
}

TEST_F(MaskTest, AppliedItZeroesWhatItNamesAndNothingElse) {
  const Graph masked = apply_mask(model_.graph, full_mask());
  auto values = [](const Graph& graph, const std::string& name) { return graph.parameter(name).load().to_floats(); };
  for (const auto& parameter : model_.graph.parameters()) {
    auto expected = parameter->load().to_floats();
    const std::string& name = parameter->name();
    auto zero = [&](auto in_hole, size_t columns) {
      for (size_t i = 0; i < expected.size(); ++i)
        if (in_hole(i / columns, i % columns)) expected[i] = 0;
    };
    if (name == "model.layers.0.mlp.up_proj.weight") expected[0] = expected[9] = expected[48 * 32 - 1] = 0;
    const bool is_heads = name.starts_with("model.layers.1.self_attn.");
    if (is_heads && name.ends_with("q_proj.weight")) zero([](size_t row, size_t) { return row < 16; }, 32);
    if (is_heads && (name.ends_with("k_proj.weight") || name.ends_with("v_proj.weight")))
      zero([](size_t row, size_t) { return row < 8; }, 32);
    if (is_heads && name.ends_with("o_proj.weight")) zero([](size_t, size_t column) { return column < 16; }, 32);
    auto is_removed = [](size_t neuron) { return neuron == 3 || neuron == 40; };
    if (name == "model.layers.2.mlp.up_proj.weight" || name == "model.layers.2.mlp.gate_proj.weight")
      zero([&](size_t row, size_t) { return is_removed(row); }, 32);
    if (name == "model.layers.2.mlp.down_proj.weight")
      zero([&](size_t, size_t column) { return is_removed(column); }, 48);
    if (name == "model.layers.0.self_attn.o_proj.weight") std::fill(expected.begin(), expected.end(), 0.f);
    EXPECT_EQ(values(masked, name), expected) << name;
  }
  EXPECT_EQ(masked.parameters().size(), model_.graph.parameters().size());
}

TEST_F(MaskTest, NormsCountTheRemainingWidth) {
  Mask mask = Mask::for_model(model_.graph);
  std::vector<uint8_t> keep(32, 1);
  keep[5] = keep[31] = 0;
  mask.remove_units(*coupling_.find("residual"), keep);
  const Graph masked = apply_mask(model_.graph, mask);
  EXPECT_EQ(masked.parameters().size(), model_.graph.parameters().size() + 7);
  std::vector<float> expected(32, 1);
  expected[5] = expected[31] = 0;
  EXPECT_EQ(masked.parameter("model.layers.1.input_layernorm.mask").load().to_floats(), expected);
  EXPECT_EQ(masked.node("model.norm").params.at("mask"), "model.norm.mask");
  // a second mask on the masked model goes into the same norms
  Mask second = Mask::for_model(masked);
  std::fill(keep.begin(), keep.end(), 1);
  keep[0] = 0;
  second.remove_units(*find_coupling(masked).find("residual"), keep);
  expected[0] = 0;
  EXPECT_EQ(apply_mask(masked, second).parameter("model.norm.mask").load().to_floats(), expected);
}

TEST_F(MaskTest, ShrunkItHasTheShapesOfTheCut) {
  Graph shrunk = model_.graph.clone(), cut_by_hand = model_.graph.clone();
  shrink(shrunk, full_mask(), "model.layers.{}.");
  cut(cut_by_hand, coupling_, coupling_.find("blocks.1.heads")->id, {1});
  EXPECT_EQ(shrunk.parameter("model.layers.1.self_attn.q_proj.weight").load().to_floats(),
            cut_by_hand.parameter("model.layers.1.self_attn.q_proj.weight").load().to_floats());
  EXPECT_EQ(shrunk.parameter("model.layers.2.mlp.up_proj.weight").shape(), (Shape{46, 32}));
  EXPECT_EQ(shrunk.parameter("model.layers.0.mlp.up_proj.weight").shape(), (Shape{48, 32}));
  EXPECT_EQ(shrunk.parameter("model.layers.0.mlp.up_proj.weight").load().to_floats()[9], 0.f);
  EXPECT_FALSE(shrunk.has_parameter("model.layers.0.self_attn.q_proj.weight"));
  EXPECT_EQ(block_widths(shrunk)[0].attention, false);
}

TEST_F(MaskTest, HostileFilesAreRefused) {
  EXPECT_NO_THROW(Mask::load(tampered([](Json&) {})));
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["format"] = 2; })), "format");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j.erase("model"); })), "'model' is missing");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["head_unit"] = "tail"; })), "kv_group, query_head");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["group_conv"] = "tail"; })), "keep_groups, drop_groups");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["split"] = "tail"; })), "outer, inner");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["units"][0]["kind"] = "tail"; })), "residual, heads");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["units"][0]["sets"] = 9; })),
                        "expected U8 [2], found U8 [1]");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["units"][0]["sets"] = 0; })), "sets");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["units"][0]["label"] = "x"; })), "units/x");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["units"].push_back(j["units"][0]); })), "two masks");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["units"].clear(); })), "tensors: expected 0, found 1");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["units"] = 3; })), "a list");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["branches"] = Json::array({1}); })), "an object");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) {
                          j["branches"] = Json::array({{{"block", -1}, {"kind", "ffn"}}});
                        })),
                        "block");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) {
                          j["weights"]["w"] = Json::array({INT32_MAX, INT32_MAX, INT32_MAX});
                        })),
                        "a list of sizes");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["weights"]["w"] = Json::array({-1}); })),
                        "a list of sizes");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json& j) { j["weights"]["w"] = Json::array({8}); })), "found nothing");
  ESP_EXPECT_USER_ERROR(Mask::load(tampered([](Json&) {}, {0x06})), "bits after the last flag");
  ESP_EXPECT_USER_ERROR(Mask::load(dir_ / "m/model.safetensors"), "not a mask");
}

}  // namespace
}  // namespace espalier
