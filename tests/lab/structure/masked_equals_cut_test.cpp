// The house law: the masked model computes what the cut one does. Random removals of every kind of unit, on every
// family and on attention with many, few, one and packed KV heads; and the mask is no empty one.
#include <gtest/gtest.h>

#include "espalier/core/rng.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"
#include "espalier/structure/surgery.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

constexpr double kTolerance = 1e-5;

struct ModelCase {
  const char* name;
  const char* type;
  int64_t kv_heads;
  void (*adjust)(test::TinyOptions&) = [](test::TinyOptions&) {};
};

const ModelCase kModels[] = {
    {"LlamaMha", "llama", 8},
    {"LlamaGqa", "llama", 4},
    {"LlamaMqa", "llama", 1},
    {"LlamaTied", "llama", 2, [](test::TinyOptions& o) { o.tied = true; }},
    {"LlamaBiased", "llama", 4,
     [](test::TinyOptions& o) {
       o.config = {{"attention_bias", true}, {"mlp_bias", true}};
     }},
    {"MistralWindow", "mistral", 4,
     [](test::TinyOptions& o) {
       o.config = {{"sliding_window", 5}};
     }},
    {"Qwen2", "qwen2", 4},
    {"Qwen3", "qwen3", 4},
    {"Gpt2Packed", "gpt2", 8},
    {"Opt", "opt", 8},
    {"OptPostNormProjected", "opt", 8, [](test::TinyOptions& o) { o.norm_first = false, o.embed = 24; }},
    {"OptPlainNorms", "opt", 8,
     [](test::TinyOptions& o) {
       o.config = {{"layer_norm_elementwise_affine", false}, {"enable_bias", false}};
     }},
    {"PhiMha", "phi", 8},
    {"PhiGqaQkNorm", "phi", 4, [](test::TinyOptions& o) { o.qk_norm = true; }},
};

enum class Unit { kKvGroup, kQueryHead, kNeuron, kResidual, kOther, kSubLayer, kLayer, kWeight, kEverything };
const std::pair<const char*, Unit> kUnits[] = {
    {"KvGroups", Unit::kKvGroup},  {"QueryHeads", Unit::kQueryHead}, {"Neurons", Unit::kNeuron},
    {"Residual", Unit::kResidual}, {"EmbeddingWidth", Unit::kOther}, {"SubLayers", Unit::kSubLayer},
    {"Layers", Unit::kLayer},      {"Weights", Unit::kWeight},       {"Everything", Unit::kEverything}};

std::vector<uint8_t> random_keep(int64_t count, int64_t removed, Rng& rng) {
  std::vector<uint8_t> keep(static_cast<size_t>(count), 1);
  for (int64_t index : rng.sample(count, removed)) keep[static_cast<size_t>(index)] = 0;
  return keep;
}

// At least one goes and one stays, where there are two.
int64_t share_of(double share, int64_t count) {
  return std::clamp<int64_t>(static_cast<int64_t>(share * static_cast<double>(count)), std::min<int64_t>(1, count - 1),
                             count - 1);
}

// The same number of each KV head's query heads.
std::vector<uint8_t> random_query_heads(const CouplingGroup& group, double share, Rng& rng) {
  const int64_t each = group.set_count / group.heads->kv_heads;
  std::vector<uint8_t> keep;
  for (int64_t kv = 0; kv < group.heads->kv_heads; ++kv) {
    const auto part = random_keep(each, share_of(share, each), rng);
    keep.insert(keep.end(), part.begin(), part.end());
  }
  return keep;
}

class Masker {
 public:
  Masker(const Graph& graph, Unit unit, double share, uint64_t seed)
      : graph_(graph), share_(share), rng_(seed, "masks") {
    const HeadUnit heads = unit == Unit::kQueryHead ? HeadUnit::kQueryHead : HeadUnit::kKvGroup;
    mask_ = Mask::for_model(graph, heads);
    coupling_ = find_coupling(graph, {heads, {}, {}});
    const bool all = unit == Unit::kEverything;
    if (all || unit == Unit::kKvGroup || unit == Unit::kQueryHead) add_units(GroupKind::kHeads);
    if (all || unit == Unit::kNeuron) add_units(GroupKind::kNeurons);
    if (all || unit == Unit::kResidual) add_units(GroupKind::kResidual);
    if (all || unit == Unit::kOther) add_units(GroupKind::kOther);
    if (all || unit == Unit::kWeight) add_weights();
    if (all || unit == Unit::kSubLayer) add_sublayers();
    if (unit == Unit::kLayer) add_layers();
  }
  const Mask& mask() const { return mask_; }

 private:
  void add_units(GroupKind kind) {
    for (const auto& group : coupling_.groups) {
      if (group.kind != kind || group.set_count < 2) continue;
      const bool queries = group.heads && group.heads->unit == HeadUnit::kQueryHead;
      if (queries && group.set_count == group.heads->kv_heads) continue;  // one query head each: whole groups only
      mask_.remove_units(group, queries ? random_query_heads(group, share_, rng_)
                                        : random_keep(group.set_count, share_of(share_, group.set_count), rng_));
    }
  }
  void add_weights() {
    for (const auto& parameter : graph_.parameters()) {
      if (parameter->shape().size() != 2) continue;
      mask_.weights[parameter->name()] =
          WeightMask(parameter->shape(), random_keep(parameter->count(), share_of(share_, parameter->count()), rng_));
    }
  }
  void add_sublayers() {
    const auto sublayers = find_sublayers(graph_);
    const auto count = static_cast<int64_t>(sublayers.size());
    for (int64_t index : rng_.sample(count, share_of(share_, count)))
      mask_.branches.push_back(
          {sublayers[static_cast<size_t>(index)].block, sublayers[static_cast<size_t>(index)].kind});
  }
  void add_layers() {
    for (int64_t block : rng_.sample(graph_.block_count, share_of(share_, graph_.block_count)))
      for (auto kind : {SubLayer::Kind::kAttention, SubLayer::Kind::kFfn})
        mask_.branches.push_back({static_cast<int>(block), kind});
  }

  const Graph& graph_;
  double share_;
  Rng rng_;
  Mask mask_;
  Coupling coupling_;
};

at::Tensor logits_of(const Graph& graph) {
  Weights weights(graph);
  Rng rng(3, "ids");
  std::vector<int64_t> ids;
  for (int i = 0; i < 22; ++i) ids.push_back(static_cast<int64_t>(rng.below(31)));
  return Interpreter(graph, weights).forward(at::tensor(ids).view({2, 11}));
}

double distance(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

Model load(const ModelCase& which, const std::filesystem::path& directory) {
  test::TinyOptions options;
  options.hidden = 64;
  options.heads = 8;
  options.kv_heads = which.kv_heads;
  options.ffn = 96;
  options.layers = 4;
  which.adjust(options);
  return test::load_tiny(directory, which.type, options);
}

// What a model has of a unit: several KV heads, several query heads a KV head, an embedding of its own width.
bool has_unit(const ModelCase& which, Unit unit) {
  if (unit == Unit::kKvGroup) return which.kv_heads > 1;
  if (unit == Unit::kQueryHead) return which.kv_heads < 8;
  return unit != Unit::kOther || std::string(which.name) == "OptPostNormProjected";
}

using UnitOfModel = std::pair<ModelCase, std::pair<const char*, Unit>>;

std::vector<UnitOfModel> units_of_models() {
  std::vector<UnitOfModel> all;
  for (const auto& which : kModels)
    for (const auto& unit : kUnits)
      if (has_unit(which, unit.second)) all.emplace_back(which, unit);
  return all;
}

class MaskedEqualsCut : public ::testing::TestWithParam<UnitOfModel> {};

TEST_P(MaskedEqualsCut, OnLogits) {
  const auto& [which, unit] = GetParam();
  const test::TempDir dir;
  const Model model = load(which, dir / "m");
  const at::Tensor dense = logits_of(model.graph);
  for (double share : {0.1, 0.3, 0.7}) {
    const Mask mask = Masker(model.graph, unit.second, share, static_cast<uint64_t>(share * 10)).mask();
    ASSERT_FALSE(mask.empty());
    Graph shrunk = model.graph.clone();
    shrink(shrunk, mask, model.family->block_prefix(model.graph));
    const at::Tensor masked = logits_of(apply_mask(model.graph, mask)), cut = logits_of(shrunk);
    EXPECT_LT(distance(masked, cut), kTolerance) << share;
    EXPECT_GT(distance(masked, dense), 1e-3) << share;  // it did remove something
    EXPECT_EQ(shrunk.parameter_count() < model.graph.parameter_count(), unit.second != Unit::kWeight);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, MaskedEqualsCut, ::testing::ValuesIn(units_of_models()),
                         [](const auto& info) { return std::string(info.param.first.name) + info.param.second.first; });

// Whole blocks by their own function, where no norm stands on the stream.
TEST(RemovedBlocks, EqualZeroedBranches) {
  for (const auto& which : kModels) {
    if (std::string(which.name) == "OptPostNormProjected") continue;
    SCOPED_TRACE(which.name);
    const test::TempDir dir;
    const Model model = load(which, dir / "m");
    Graph zeroed = model.graph.clone(), removed = model.graph.clone();
    std::vector<SubLayer> branches;
    for (const auto& sublayer : find_sublayers(zeroed))
      if (sublayer.block == 1 || sublayer.block == 2) branches.push_back(sublayer);
    zero_sublayers(zeroed, branches);
    remove_blocks(removed, {1, 2}, model.family->block_prefix(model.graph));
    EXPECT_LT(distance(logits_of(zeroed), logits_of(removed)), kTolerance);
    EXPECT_EQ(removed.block_count, 2);
  }
}

// A mask through its file is the same mask.
TEST(SavedMask, ComputesTheSame) {
  const test::TempDir dir;
  const Model model = load(kModels[1], dir / "m");
  const Mask mask = Masker(model.graph, Unit::kEverything, 0.3, 5).mask();
  mask.save(dir / "mask.safetensors");
  EXPECT_EQ(distance(logits_of(apply_mask(model.graph, mask)),
                     logits_of(apply_mask(model.graph, Mask::load(dir / "mask.safetensors")))),
            0);
}

}  // namespace
}  // namespace espalier
