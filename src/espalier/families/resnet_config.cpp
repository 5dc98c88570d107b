#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/resnet.h"

namespace espalier {
namespace {

using List = std::vector<int64_t>;
constexpr int64_t kMostWidth = 1 << 16, kMostBlocks = 4096, kExpansion = 4;

const std::vector<std::string> kConvs{"conv1", "conv2", "conv3"}, kNorms{"bn1", "bn2", "bn3"};
const ResNetNames kTorchvision{"conv1", "bn1",  "fc",           "layer{stage}.{}.", 1,
                               kConvs,  kNorms, "downsample.0", "downsample.1"};
const ResNetNames kCifar{"conv1", "bn1", "linear", "layer{stage}.{}.", 1, kConvs, kNorms, "shortcut.0", "shortcut.1"};
const ResNetNames kHuggingFace{"resnet.embedder.embedder.convolution",
                               "resnet.embedder.embedder.normalization",
                               "classifier.1",
                               "resnet.encoder.stages.{stage}.layers.{}.",
                               0,
                               {"layer.0.convolution", "layer.1.convolution", "layer.2.convolution"},
                               {"layer.0.normalization", "layer.1.normalization", "layer.2.normalization"},
                               "shortcut.convolution",
                               "shortcut.normalization"};
const ResNetNames kPlain{
    "in_head.0",  "in_head.1", "out_head", "layer{stage}.", 1, {"layers.0", "layers.3"}, {"layers.1", "layers.4"},
    "shortcut.0", "shortcut.1"};

bool is_bottleneck(const Json& config, const char* key, const std::string& where, const char* otherwise) {
  const std::string block = json_string_or(config, key, where, otherwise);
  if (block != "basic" && block != "bottleneck") throw UserError(where, key, "basic or bottleneck", printable(block));
  return block == "bottleneck";
}

List default_strides(size_t stages, int64_t first) {
  List strides(stages, 2);
  strides[0] = first;
  return strides;
}

void read_hugging_face(ResNetFacts& facts, const Json& config, const std::string& where) {
  facts.names = &kHuggingFace;
  facts.bottleneck = is_bottleneck(config, "layer_type", where, "bottleneck");
  facts.depths = json_int_list(config, "depths", where, 1, kMostBlocks, 0, {3, 4, 6, 3});
  const size_t stages = facts.depths.size();
  facts.outer = json_int_list(config, "hidden_sizes", where, 1, kMostWidth, stages, {256, 512, 1024, 2048});
  facts.stem_width = json_int_or(config, "embedding_size", where, 1, kMostWidth, 64);
  const bool first = json_bool_or(config, "downsample_in_first_stage", where, false);
  facts.strides = default_strides(stages, first ? 2 : 1);
  for (int64_t width : facts.outer)
    facts.inner.push_back(facts.bottleneck ? std::max<int64_t>(1, width / kExpansion) : width);
  if (const std::string act = json_string_or(config, "hidden_act", where, "relu"); act != "relu")
    throw UserError(where, "hidden_act", "relu", printable(act));
}

void read_widths(ResNetFacts& facts, const Json& config, const std::string& where, int64_t first) {
  const size_t stages = facts.depths.size();
  List widths(stages, first);
  for (size_t i = 1; i < stages; ++i) widths[i] = std::min(kMostWidth, 2 * widths[i - 1]);
  facts.inner = json_int_list(config, "widths", where, 1, kMostWidth, stages, widths);
  facts.stem_width = json_int_or(config, "stem_width", where, 1, kMostWidth, facts.inner[0]);
  for (int64_t width : facts.inner) facts.outer.push_back(facts.bottleneck ? kExpansion * width : width);
  facts.strides = json_int_list(config, "strides", where, 1, 8, stages, default_strides(stages, 1));
}

void read_torchvision(ResNetFacts& facts, const Json& config, const std::string& where) {
  facts.names = &kTorchvision;
  facts.bottleneck = is_bottleneck(config, "block", where, "basic");
  facts.depths = json_int_list(config, "layers", where, 1, kMostBlocks, 0, {});
  facts.groups = json_int_or(config, "groups", where, 1, kMostWidth, 1);
  const int64_t per_group = json_int_or(config, "width_per_group", where, 1, kMostWidth, 64);
  read_widths(facts, config, where, 64);
  if (!facts.bottleneck) return;
  for (int64_t& width : facts.inner) width = std::clamp<int64_t>(width * per_group / 64, 1, kMostWidth) * facts.groups;
}

List cifar_depths(const Json& config, const std::string& where) {
  if (!config.contains("depth") || config.contains("layers"))
    return json_int_list(config, "layers", where, 1, kMostBlocks, 0, {});
  const int64_t depth = json_int(config, "depth", where, 8, 6 * kMostBlocks + 2);
  if ((depth - 2) % 6 != 0) throw UserError(where, "depth", "6 n + 2", fmt::format("{}", depth));
  return List(3, (depth - 2) / 6);
}

void read_cifar(ResNetFacts& facts, const Json& config, const std::string& where) {
  facts.names = &kCifar;
  facts.imagenet_stem = false;
  facts.bottleneck = is_bottleneck(config, "block", where, "basic");
  facts.depths = cifar_depths(config, where);
  const std::string shortcut = json_string_or(config, "shortcut", where, "A");
  if (shortcut != "A" && shortcut != "B") throw UserError(where, "shortcut", "A or B", printable(shortcut));
  facts.sliced_shortcut = shortcut == "A";
  read_widths(facts, config, where, facts.depths.size() > 3 ? 64 : 16);
}

void read_plain(ResNetFacts& facts, const Json& config, const std::string& where) {
  facts.names = &kPlain;
  facts.imagenet_stem = false;
  facts.relu_after_sum = false;
  facts.inner = facts.outer = json_int_list(config, "widths", where, 1, kMostWidth, 0, {});
  facts.depths = List(facts.inner.size(), 1);
  facts.strides =
      json_int_list(config, "strides", where, 1, 8, facts.depths.size(), default_strides(facts.depths.size(), 1));
  facts.stem_width = json_int_or(config, "stem_width", where, 1, kMostWidth, 16);
}

// Widths of a stage's stream and within its first block, as the tensors have them.
Json stream_width(const WeightSource& source, const ResNetNames& names, size_t stage, size_t conv) {
  const Shape& shape = source.shape(names.block_prefix(stage, 0) + names.convs[conv] + ".weight");
  return shape.empty() ? 0 : shape[0];
}

Json described_stages(const WeightSource& source, const ResNetNames& names, Json config) {
  auto has_conv = [&](size_t stage, size_t conv) {
    return source.has(names.block_prefix(stage, 0) + names.convs[conv] + ".weight");
  };
  const bool bottleneck = names.convs.size() > 2 && has_conv(0, 2);
  Json layers = Json::array(), widths = Json::array();
  for (size_t stage = 0; has_conv(stage, 0) && has_conv(stage, bottleneck ? 2 : 1); ++stage) {
    layers.push_back(blocks_present(source.names(), names.stage_pattern(stage)));
    const int64_t width = stream_width(source, names, stage, bottleneck ? 2 : 1);
    widths.push_back(std::max<int64_t>(1, bottleneck ? width / kExpansion : width));
  }
  config["layers"] = layers;
  config["block"] = bottleneck ? "bottleneck" : "basic";
  config["widths"] = widths;
  config["num_classes"] = source.shape(names.head + ".weight").at(0);
  return config;
}

// Groups and width of the middle convolutions of bottlenecks.
void describe_groups(Json& config, const WeightSource& source) {
  if (config["block"] != "bottleneck") return;
  const Shape& middle = source.shape("layer1.0.conv2.weight");
  const int64_t planes = config["widths"].at(0);
  if (middle.size() != 4 || middle[0] < 1 || middle[1] < 1) return;
  const int64_t groups = std::max<int64_t>(1, middle[0] / middle[1]);
  config["groups"] = groups;
  config["width_per_group"] = std::max<int64_t>(1, middle[0] / groups * 64 / planes);
}

}  // namespace

std::string ResNetNames::stage_pattern(size_t stage) const {
  std::string pattern = block;
  return pattern.replace(pattern.find("{stage}"), 7, std::to_string(static_cast<int64_t>(stage) + first_stage));
}

std::string ResNetNames::block_prefix(size_t stage, int64_t index) const {
  const std::string pattern = stage_pattern(stage);
  return pattern.find("{}") == std::string::npos ? pattern : block_name(pattern, index);
}

ResNetFacts read_resnet_facts(const Json& config, const std::string& where) {
  ResNetFacts facts;
  const std::string type = json_string(config, "model_type", where);
  if (type == "resnet") read_hugging_face(facts, config, where);
  if (type == "resnet-torchvision") read_torchvision(facts, config, where);
  if (type == "resnet-cifar") read_cifar(facts, config, where);
  if (type == "resnet-plain") read_plain(facts, config, where);
  facts.picture = picture_shape(config, where, facts.imagenet_stem ? 224 : 32);
  facts.classes = class_count(config, where, facts.imagenet_stem ? 1000 : 10);
  return facts;
}

std::optional<Json> recognise_resnet(const Checkpoint& checkpoint) {
  const WeightSource source(checkpoint, Json::object(), checkpoint.path().string());
  const bool staged = source.has("conv1.weight") && source.has("bn1.weight") && source.has("layer1.0.conv1.weight");
  if (staged && source.has("linear.weight")) {
    const bool projected = source.has("layer2.0.shortcut.0.weight");
    return described_stages(source, kCifar,
                            {{"model_type", "resnet-cifar"},
                             {"shortcut", projected ? "B" : "A"},
                             {"image_size", 32},
                             {"espalier_image", imagenet_image_facts(0)}});
  }
  if (staged && source.has("fc.weight")) {
    Json config = described_stages(
        source, kTorchvision,
        {{"model_type", "resnet-torchvision"}, {"image_size", 224}, {"espalier_image", imagenet_image_facts()}});
    describe_groups(config, source);
    return config;
  }
  if (!source.has("in_head.0.weight") || !source.has("layer1.layers.3.weight") || !source.has("out_head.weight"))
    return std::nullopt;
  Json config = described_stages(
      source, kPlain, {{"model_type", "resnet-plain"}, {"image_size", 32}, {"espalier_image", image_facts({}, {})}});
  config.erase("layers");
  config.erase("block");
  config["strides"] = default_strides(config["widths"].size(), 1);
  return config;
}

}  // namespace espalier
