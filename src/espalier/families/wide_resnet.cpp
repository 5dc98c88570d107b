// Wide ResNets for CIFAR (Zagoruyko and Komodakis, 2016): BatchNorm and ReLU before each convolution. Tensors are named
// conv1, block1.layer.0.bn1, .conv1, .bn2, .conv2, .convShortcut …, bn1, fc. Configuration: depth (6 n + 4, WRN-28-10:
// 28) and widen_factor, image_size, num_classes. Where a block changes the width, its first BatchNorm and ReLU also
// stand before the shortcut's convolution.
#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/family.h"
#include "espalier/families/vision_builder.h"
#include "espalier/families/vision_config.h"

namespace espalier::wide_resnet_family {
namespace {

constexpr int64_t kStages = 3, kStem = 16;

struct WideFacts {
  int64_t blocks = 0, factor = 0, classes = 0;
  PictureShape picture;
  int64_t width(int64_t stage) const { return (kStem << stage) * factor; }
};

WideFacts read_facts(const Json& config, const std::string& where) {
  WideFacts facts;
  const int64_t depth = json_int(config, "depth", where, 10, 6004);
  if ((depth - 4) % 6 != 0) throw UserError(where, "depth", "6 n + 4", fmt::format("{}", depth));
  facts.blocks = (depth - 4) / 6;
  facts.factor = json_int(config, "widen_factor", where, 1, 1024);
  facts.classes = class_count(config, where, 10);
  facts.picture = picture_shape(config, where, 32);
  return facts;
}

std::string stage_name(int64_t stage) { return fmt::format("block{}.layer.{{}}.", stage + 1); }

ValueId activated(VisionBuilder& b, const std::string& name, ValueId x) {
  return b.relu(name + ".relu", b.batch_norm(name, x));
}

ValueId block(VisionBuilder& b, const WideFacts& facts, int64_t stage, int64_t index, ValueId x) {
  const std::string at = block_name(stage_name(stage), index);
  const Width width = free_width(facts.width(stage));
  const int64_t stride = index == 0 && stage > 0 ? 2 : 1;
  const int64_t before = stage == 0 ? kStem : facts.width(stage - 1);
  const bool projects = b.source().has(at + "convShortcut.weight", index == 0 && (before != width.value || stride > 1));
  const ValueId first = activated(b, at + "bn1", x);
  const ValueId shortcut = projects ? b.conv(at + "convShortcut", first, {width, 1, stride, 0}) : x;
  const ValueId inner = activated(b, at + "bn2", b.conv(at + "conv1", first, {width, 3, stride, 1}));
  return b.add(at + "add", b.conv(at + "conv2", inner, {exactly(b.channels(shortcut)), 3, 1, 1}), shortcut);
}

Graph build_from(WeightSource source, const WideFacts& facts) {
  VisionBuilder b(std::move(source));
  const ValueId pictures = b.pictures(facts.picture.channels, facts.picture.height, facts.picture.width);
  ValueId x = b.conv("conv1", pictures, {free_width(kStem), 3, 1, 1});
  for (int64_t stage = 0; stage < kStages; ++stage) {
    b.source().count(stage_name(stage), "depth: blocks of a stage", facts.blocks);
    for (int64_t i = 0; i < facts.blocks; ++i) x = block(b, facts, stage, i, x);
  }
  x = b.pooled_features("pool", activated(b, "bn1", x));
  return b.finish({b.linear("fc", x, free_width(facts.classes))}, 0, is_framework_buffer);
}

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  return build_from(WeightSource(checkpoint, config, where), read_facts(config, where));
}

Graph fresh(const Json& config, uint64_t seed, const std::string& where) {
  return build_from(WeightSource(seed, config, where), read_facts(config, where));
}

void write_config(Json& config, const Graph& graph) { write_module_widths(config, graph, fresh); }

std::optional<Json> recognise(const Checkpoint& checkpoint) {
  const WeightSource source(checkpoint, Json::object(), checkpoint.path().string());
  if (!source.has("block1.layer.0.conv1.weight") || !source.has("block3.layer.0.conv2.weight") ||
      !source.has("fc.weight"))
    return std::nullopt;
  const int64_t last = source.shape("block3.layer.0.conv2.weight").at(0);
  return Json{{"model_type", "wide-resnet"},
              {"depth", 6 * blocks_present(source.names(), stage_name(0)) + 4},
              {"widen_factor", std::max<int64_t>(1, last / (kStem << 2))},
              {"image_size", 32},
              {"num_classes", source.shape("fc.weight").at(0)},
              {"espalier_image", image_facts({0.4914, 0.4822, 0.4465}, {0.2470, 0.2435, 0.2616})}};
}

const RegisterFamily registered(
    {"wide-resnet", {"wide-resnet"}, build, write_config, no_blocks, Task::kImages, recognise, fresh});

}  // namespace
}  // namespace espalier::wide_resnet_family
