// MobileNet v1 (Howard et al., 2017) and v2 (Sandler et al., 2018).
//   mobilenet-v1  model.0.{0,1}: first convolution; model.N.{0,1}: depthwise, model.N.{3,4}: pointwise; fc
//   mobilenet-v2  torchvision: features.0.{0,1}, features.N.conv.…, features.18.{0,1}, classifier.1
// Configuration: width_mult, num_channels, image_size, num_classes. For v2 also inverted_residual_setting, a list of
// [expansion, channels, repeats, stride].
#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/families/family.h"
#include "espalier/families/vision_builder.h"
#include "espalier/families/vision_config.h"

namespace espalier::mobilenet_family {
namespace {

struct Facts {
  bool second = false;
  double multiplier = 1;
  PictureShape picture;
  int64_t classes = 0;
  std::vector<std::vector<int64_t>> stages;
};

Facts read_facts(const Json& config, const std::string& where) {
  Facts facts;
  facts.second = json_string(config, "model_type", where) == "mobilenet-v2";
  facts.multiplier = json_number_or(config, "width_mult", where, 1);
  if (!(facts.multiplier > 0 && facts.multiplier <= 64))
    throw UserError(where, "width_mult", "a number above 0, at most 64", fmt::format("{}", facts.multiplier));
  facts.picture = picture_shape(config, where, 224);
  facts.classes = class_count(config, where, 1000);
  facts.stages = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                  {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  const auto list = config.find("inverted_residual_setting");
  if (!facts.second || list == config.end()) return facts;
  if (!list->is_array() || list->empty() || list->size() > 256)
    throw UserError(where, "inverted_residual_setting", "a list of 1 to 256 stages", describe(*list));
  facts.stages.clear();
  for (const Json& entry : *list)
    facts.stages.push_back(
        json_int_list(Json{{"inverted_residual_setting", entry}}, "inverted_residual_setting", where, 1, 4096, 4, {}));
  return facts;
}

// The nearest multiple of 8 to a scaled width, but no less than 90 % of it.
int64_t rounded_width(double width) {
  const auto nearest = std::max<int64_t>(8, static_cast<int64_t>(width + 4) / 8 * 8);
  return static_cast<double>(nearest) < 0.9 * width ? nearest + 8 : nearest;
}

class MobileNet {
 public:
  MobileNet(WeightSource source, const Facts& facts) : b_(std::move(source)), facts_(facts) {}

  Graph build() {
    const ValueId x = b_.pictures(facts_.picture.channels, facts_.picture.height, facts_.picture.width);
    return b_.finish({facts_.second ? second(x) : first(x)}, 0, is_framework_buffer);
  }

 private:
  ValueId activated(const std::string& conv, const std::string& norm, ValueId x, const ConvSpec& spec) {
    const ValueId y = b_.batch_norm(norm, b_.conv(conv, x, spec));
    return facts_.second ? b_.relu6(norm + ".relu6", y) : b_.relu(norm + ".relu", y);
  }
  static ConvSpec depthwise(int64_t stride) { return {{}, 3, stride, 1, ConvSpec::kDepthwise}; }

  ValueId first(ValueId x) {
    auto width = [&](int64_t full) {
      return free_width(std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(full) * facts_.multiplier)));
    };
    x = activated("model.0.0", "model.0.1", x, {width(32), 3, 2, 1});
    const std::vector<int64_t> widths{64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024};
    int64_t before = 32;
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string at = fmt::format("model.{}.", i + 1);
      x = activated(at + "0", at + "1", x, depthwise(i > 0 && widths[i] != before ? 2 : 1));
      x = activated(at + "3", at + "4", x, {width(widths[i]), 1});
      before = widths[i];
    }
    return b_.linear("fc", b_.pooled_features("pool", x), free_width(facts_.classes));
  }

  ValueId second(ValueId x) {
    int64_t before = rounded_width(32 * facts_.multiplier), at = 0;
    x = activated("features.0.0", "features.0.1", x, {free_width(before), 3, 2, 1});
    for (const auto& stage : facts_.stages) {
      const int64_t width = rounded_width(static_cast<double>(stage[1]) * facts_.multiplier);
      for (int64_t i = 0; i < stage[2]; ++i) {
        x = inverted_residual(x, ++at, stage[0], before, width, i == 0 ? stage[3] : 1);
        before = width;
      }
    }
    const std::string last = fmt::format("features.{}.", ++at);
    const int64_t width = rounded_width(1280 * std::max(1.0, facts_.multiplier));
    x = activated(last + "0", last + "1", x, {free_width(width), 1});
    return b_.linear("classifier.1", b_.pooled_features("pool", x), free_width(facts_.classes));
  }

  // Whether a block adds its input follows from the stock widths: a cut may make others equal by chance.
  ValueId inverted_residual(ValueId x, int64_t index, int64_t expansion, int64_t in, int64_t out, int64_t stride) {
    const std::string at = fmt::format("features.{}.conv.", index);
    const bool adds = stride == 1 && in == out;
    ValueId y = x;
    int64_t n = 0;
    if (expansion != 1) {
      y = activated(fmt::format("{}{}.0", at, n), fmt::format("{}{}.1", at, n), y, {free_width(in * expansion), 1});
      ++n;
    }
    y = activated(fmt::format("{}{}.0", at, n), fmt::format("{}{}.1", at, n), y, depthwise(stride));
    const Width width = adds ? exactly(b_.channels(x)) : free_width(out);
    y = b_.conv(fmt::format("{}{}", at, n + 1), y, {width, 1});
    y = b_.batch_norm(fmt::format("{}{}", at, n + 2), y);
    return adds ? b_.add(at + "add", y, x) : y;
  }

  VisionBuilder b_;
  const Facts& facts_;
};

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const Facts facts = read_facts(config, where);
  return MobileNet(WeightSource(checkpoint, config, where), facts).build();
}

Graph fresh(const Json& config, uint64_t seed, const std::string& where) {
  const Facts facts = read_facts(config, where);
  return MobileNet(WeightSource(seed, config, where), facts).build();
}

void write_config(Json& config, const Graph& graph) { write_module_widths(config, graph, fresh); }

std::optional<Json> recognise(const Checkpoint& checkpoint) {
  const WeightSource source(checkpoint, Json::object(), checkpoint.path().string());
  const bool second = source.has("features.1.conv.0.0.weight") && source.has("classifier.1.weight");
  const bool first = source.has("model.13.3.weight") && source.has("model.0.0.weight") && source.has("fc.weight");
  if (!first && !second) return std::nullopt;
  const Shape& stem = source.shape(second ? "features.0.0.weight" : "model.0.0.weight");
  if (stem.size() != 4) return std::nullopt;
  return Json{{"model_type", second ? "mobilenet-v2" : "mobilenet-v1"},
              {"width_mult", static_cast<double>(stem[0]) / 32},
              {"image_size", 224},
              {"num_channels", stem[1]},
              {"num_classes", source.shape(second ? "classifier.1.weight" : "fc.weight").at(0)},
              {"espalier_image", imagenet_image_facts()}};
}

const RegisterFamily registered(
    {"mobilenet", {"mobilenet-v1", "mobilenet-v2"}, build, write_config, no_blocks, Task::kImages, recognise, fresh});

}  // namespace
}  // namespace espalier::mobilenet_family
