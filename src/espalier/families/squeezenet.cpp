// SqueezeNet 1.0 and 1.1 (Iandola et al., 2016). Configuration: version ("1.0", "1.1"), layout ("torchvision":
// features.3.squeeze …, classifier.1; "deepscale": fire2/squeeze1x1 …, conv10, as the original files have it), and
// head_padding, which the original pads its last convolution with.

#include "espalier/core/error.h"
#include "espalier/families/family.h"
#include "espalier/families/vision_builder.h"
#include "espalier/families/vision_config.h"

namespace espalier::squeezenet_family {
namespace {

struct Fire {
  int64_t index;  // in torchvision's features
  int64_t squeeze, expand;
};

struct SqueezeNetFacts {
  bool torchvision = true;
  bool first = false;  // version 1.0
  int64_t stem_width = 0, stem_kernel = 0, head_padding = 0, classes = 0;
  std::vector<Fire> fires;
  std::vector<size_t> pooled_before;  // fires that a pooling stands before
  PictureShape picture;
};

SqueezeNetFacts read_facts(const Json& config, const std::string& where) {
  SqueezeNetFacts facts;
  const std::string version = json_string_or(config, "version", where, "1.1");
  const std::string layout = json_string_or(config, "layout", where, "torchvision");
  if (version != "1.0" && version != "1.1") throw UserError(where, "version", "1.0 or 1.1", printable(version));
  if (layout != "torchvision" && layout != "deepscale")
    throw UserError(where, "layout", "torchvision or deepscale", printable(layout));
  facts.torchvision = layout == "torchvision";
  facts.first = version == "1.0";
  facts.stem_width = facts.first ? 96 : 64;
  facts.stem_kernel = facts.first ? 7 : 3;
  const std::vector<int64_t> indices =
      facts.first ? std::vector<int64_t>{3, 4, 5, 7, 8, 9, 10, 12} : std::vector<int64_t>{3, 4, 6, 7, 9, 10, 11, 12};
  const std::vector<int64_t> squeezes{16, 16, 32, 32, 48, 48, 64, 64};
  for (size_t i = 0; i < indices.size(); ++i) facts.fires.push_back({indices[i], squeezes[i], 4 * squeezes[i]});
  facts.pooled_before = facts.first ? std::vector<size_t>{0, 3, 7} : std::vector<size_t>{0, 2, 4};
  facts.picture = picture_shape(config, where, facts.torchvision ? 224 : 227);
  facts.classes = class_count(config, where, 1000);
  facts.head_padding = json_int_or(config, "head_padding", where, 0, 16, 0);
  return facts;
}

struct FireNames {
  std::string at, squeeze, left, right;
};

FireNames names_of(const SqueezeNetFacts& facts, size_t i) {
  const std::string at =
      facts.torchvision ? fmt::format("features.{}.", facts.fires[i].index) : fmt::format("fire{}/", i + 2);
  return {at, at + (facts.torchvision ? "squeeze" : "squeeze1x1"), at + "expand1x1", at + "expand3x3"};
}

ValueId activated(VisionBuilder& b, const std::string& name, ValueId x, int64_t width, int64_t kernel) {
  ConvSpec spec{free_width(width), kernel, 1, kernel / 2};
  spec.bias = true;
  return b.relu(name + ".relu", b.conv(name, x, spec));
}

ValueId fire(VisionBuilder& b, const SqueezeNetFacts& facts, size_t i, ValueId x) {
  const FireNames names = names_of(facts, i);
  const ValueId y = activated(b, names.squeeze, x, facts.fires[i].squeeze, 1);
  const ValueId left = activated(b, names.left, y, facts.fires[i].expand, 1);
  return b.concat(names.at + "concat", {left, activated(b, names.right, y, facts.fires[i].expand, 3)}, 1);
}

Graph build_from(WeightSource source, const SqueezeNetFacts& facts) {
  VisionBuilder b(std::move(source));
  const ValueId pictures = b.pictures(facts.picture.channels, facts.picture.height, facts.picture.width);
  ConvSpec stem{free_width(facts.stem_width), facts.stem_kernel, 2, 0}, last{free_width(facts.classes), 1, 1, 0};
  stem.bias = last.bias = true;
  last.padding = facts.head_padding;
  ValueId x = b.relu("stem.relu", b.conv(facts.torchvision ? "features.0" : "conv1", pictures, stem));
  for (size_t i = 0, pools = 0; i < facts.fires.size(); ++i) {
    if (pools < facts.pooled_before.size() && facts.pooled_before[pools] == i)
      x = b.max_pool(fmt::format("pool{}", ++pools), x, 3, 2, 0, true);
    x = fire(b, facts, i, x);
  }
  x = b.relu("head.relu", b.conv(facts.torchvision ? "classifier.1" : "conv10", x, last));
  return b.finish({b.pooled_features("pool", x)}, 0, is_framework_buffer);
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
  const bool torchvision = source.has("features.3.squeeze.weight"), deepscale = source.has("fire2/squeeze1x1.weight");
  if (!torchvision && !deepscale) return std::nullopt;
  const std::string stem = torchvision ? "features.0.weight" : "conv1.weight";
  const std::string head = torchvision ? "classifier.1.weight" : "conv10.weight";
  const Shape &first = source.shape(stem), &last = source.shape(head);
  if (first.size() != 4 || last.size() != 4) return std::nullopt;
  Json config = {{"model_type", "squeezenet"},
                 {"version", first[2] == 7 ? "1.0" : "1.1"},
                 {"layout", torchvision ? "torchvision" : "deepscale"},
                 {"image_size", torchvision ? 224 : 227},
                 {"num_channels", first[1]},
                 {"num_classes", last[0]}};
  if (torchvision) {
    config["espalier_image"] = imagenet_image_facts();
  } else {  // blue first, values up to 255 minus the mean of each channel
    config["head_padding"] = 1;
    config["espalier_image"] = image_facts({104, 117, 123}, {}, 1, true, 256);
  }
  return config;
}

const RegisterFamily registered(
    {"squeezenet", {"squeezenet"}, build, write_config, no_blocks, Task::kImages, recognise, fresh});

}  // namespace
}  // namespace espalier::squeezenet_family
