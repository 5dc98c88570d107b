// ShuffleNet v2 (Ma et al., 2018) under torchvision's names: conv1.{0,1}, stageS.B.branch1.{0,1,2,3},
// stageS.B.branch2.{0,1,3,4,5,6}, conv5.{0,1}, fc. Configuration: stages_repeats ([4, 8, 4]) and stages_out_channels
// ([24, 116, 232, 464, 1024]), num_channels, image_size, num_classes.
// After a cut the halves of a block may have different widths, and the channel shuffle may be a choice of channels: the
// "espalier" block says so (the size of a split's first part stands among the widths, under the split's name).
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/family.h"
#include "espalier/families/vision_builder.h"
#include "espalier/families/vision_config.h"

namespace espalier::shufflenet_family {
namespace {

using List = std::vector<int64_t>;
constexpr int64_t kHalves = 2;

struct Facts {
  List repeats, widths;
  PictureShape picture;
  int64_t classes = 0;
};

Facts read_facts(const Json& config, const std::string& where) {
  Facts facts;
  facts.repeats = json_int_list(config, "stages_repeats", where, 1, 4096, 0, {4, 8, 4});
  facts.widths = json_int_list(config, "stages_out_channels", where, 2, 1 << 16, facts.repeats.size() + 2,
                               {24, 116, 232, 464, 1024});
  facts.picture = picture_shape(config, where, 224);
  facts.classes = class_count(config, where, 1000);
  return facts;
}

std::string stage_name(size_t stage) { return fmt::format("stage{}.{{}}.", stage + 2); }

class ShuffleNet {
 public:
  ShuffleNet(WeightSource source, const Facts& facts) : b_(std::move(source)), facts_(facts) {}

  Graph build() {
    ValueId x = b_.pictures(facts_.picture.channels, facts_.picture.height, facts_.picture.width);
    x = activated("conv1.0", "conv1.1", x, {free_width(facts_.widths.front()), 3, 2, 1});
    x = b_.max_pool("maxpool", x, 3, 2, 1);
    for (size_t stage = 0; stage < facts_.repeats.size(); ++stage) {
      b_.source().count(stage_name(stage), fmt::format("blocks of stage {}", stage + 2), facts_.repeats[stage]);
      for (int64_t i = 0; i < facts_.repeats[stage]; ++i) x = block(x, stage, i);
    }
    x = activated("conv5.0", "conv5.1", x, {free_width(facts_.widths.back()), 1});
    return b_.finish({b_.linear("fc", b_.pooled_features("pool", x), free_width(facts_.classes))}, 0,
                     is_framework_buffer);
  }

 private:
  ValueId plain(const std::string& conv, const std::string& norm, ValueId x, const ConvSpec& spec) {
    return b_.batch_norm(norm, b_.conv(conv, x, spec));
  }
  ValueId activated(const std::string& conv, const std::string& norm, ValueId x, const ConvSpec& spec) {
    return b_.relu(norm + ".relu", plain(conv, norm, x, spec));
  }
  static ConvSpec depthwise(int64_t stride) { return {{}, 3, stride, 1, ConvSpec::kDepthwise}; }

  ValueId block(ValueId x, size_t stage, int64_t index) {
    const std::string at = block_name(stage_name(stage), index);
    const Width half = free_width(facts_.widths[stage + 1] / kHalves);
    ValueId left = x, right = x;
    if (index == 0) {
      left = plain(at + "branch1.0", at + "branch1.1", x, depthwise(2));
      left = activated(at + "branch1.2", at + "branch1.3", left, {half, 1});
    } else {
      const auto parts = halves(x, at);
      left = parts[0];
      right = parts[1];
    }
    right = activated(at + "branch2.0", at + "branch2.1", right, {half, 1});
    right = plain(at + "branch2.3", at + "branch2.4", right, depthwise(index == 0 ? 2 : 1));
    right = activated(at + "branch2.5", at + "branch2.6", right, {half, 1});
    return shuffled(b_.concat(at + "concat", {left, right}, 1), at + "shuffle");
  }

  std::vector<ValueId> halves(ValueId x, const std::string& at) {
    const int64_t all = b_.channels(x);
    int64_t left = b_.source().stated_width(at + "split", all / kHalves);
    if (!b_.source().is_fresh()) {
      const Shape& first = b_.source().shape(at + "branch2.0.weight");
      left = first.size() == 4 ? all - first[1] : left;
    }
    if (left < 1 || left >= all)
      throw UserError(b_.where(), fmt::format("channels of '{}branch2.0' that come in", at),
                      fmt::format("1 to {}", all - 1), fmt::format("{}", all - left));
    return b_.split(at + "split", x, 1, {left, all - left});
  }

  // Channel g · C/2 + i becomes channel 2 i + g.
  ValueId shuffled(ValueId x, const std::string& name) {
    if (const auto* chosen = b_.source().indices(name)) return b_.gather(name, x, 1, *chosen);
    const Shape shape = b_.shape(x);
    if (shape[1] % kHalves != 0)
      throw UserError(b_.where(), fmt::format("channels of '{}'", name), "an even number, or espalier: indices",
                      fmt::format("{}", shape[1]));
    const ValueId groups = b_.reshape(name + ".groups", x, {0, kHalves, -1, shape[2], shape[3]});
    return b_.reshape(name, b_.transpose(name + ".swapped", groups, {0, 2, 1, 3, 4}), {0, -1, shape[2], shape[3]});
  }

  VisionBuilder b_;
  const Facts& facts_;
};

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const Facts facts = read_facts(config, where);
  return ShuffleNet(WeightSource(checkpoint, config, where), facts).build();
}

Graph fresh(const Json& config, uint64_t seed, const std::string& where) {
  const Facts facts = read_facts(config, where);
  return ShuffleNet(WeightSource(seed, config, where), facts).build();
}

// What a shuffle has become, unless it is the stock one.
std::optional<List> chosen_channels(const Graph& shaped, const Node& node) {
  if (node.op == "Gather") return node.integers("indices");
  const int64_t groups = shaped.node(node.name + ".groups").integers("shape").at(1);
  if (groups == kHalves) return std::nullopt;
  const int64_t all = shaped.values[static_cast<size_t>(node.outputs[0])].shape.at(1);
  List channels;
  for (int64_t i = 0; i < all / groups; ++i)
    for (int64_t g = 0; g < groups; ++g) channels.push_back(g * (all / groups) + i);
  return channels;
}

void write_config(Json& config, const Graph& graph) {
  write_module_widths(config, graph, fresh);
  Graph shaped = graph.clone();
  infer_shapes(shaped, input_shapes(graph));
  for (const Node& node : shaped.nodes) {
    if (node.op == "Split") {
      const auto& sizes = node.integers("sizes");
      if (sizes[0] != sizes[1]) espalier_block(config)["widths"][node.name] = sizes[0];
    }
    if (!node.name.ends_with(".shuffle")) continue;
    if (const auto channels = chosen_channels(shaped, node)) espalier_block(config)["indices"][node.name] = *channels;
  }
}

std::optional<Json> recognise(const Checkpoint& checkpoint) {
  const WeightSource source(checkpoint, Json::object(), checkpoint.path().string());
  if (!source.has("stage2.0.branch1.0.weight") || !source.has("conv5.0.weight") || !source.has("fc.weight"))
    return std::nullopt;
  Json repeats = Json::array(), widths = Json::array({source.shape("conv1.0.weight").at(0)});
  for (size_t stage = 0; source.has(block_name(stage_name(stage), 0) + "branch2.5.weight"); ++stage) {
    repeats.push_back(blocks_present(source.names(), stage_name(stage)));
    widths.push_back(kHalves * source.shape(block_name(stage_name(stage), 0) + "branch2.5.weight").at(0));
  }
  widths.push_back(source.shape("conv5.0.weight").at(0));
  return Json{{"model_type", "shufflenet-v2"},
              {"stages_repeats", repeats},
              {"stages_out_channels", widths},
              {"image_size", 224},
              {"num_channels", source.shape("conv1.0.weight").at(1)},
              {"num_classes", source.shape("fc.weight").at(0)},
              {"espalier_image", imagenet_image_facts()}};
}

const RegisterFamily registered(
    {"shufflenet", {"shufflenet-v2"}, build, write_config, no_blocks, Task::kImages, recognise, fresh});

}  // namespace
}  // namespace espalier::shufflenet_family
