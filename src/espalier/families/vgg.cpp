// VGG (Simonyan and Zisserman, 2015) under torchvision's names: features.N for convolutions (and their BatchNorms) with
// ReLU and pooling counted in between, classifier.N for Linear layers with ReLU and dropout counted in between, or the
// one layer "classifier" of the CIFAR form. Configuration:
//   features    ["64", "M", …] as numbers and "M" for a pooling; depth: 11, 13, 16 or 19 in short for the published
//   lists batch_norm  whether BatchNorms follow the convolutions classifier  hidden widths of the head, [4096, 4096] by
//   default, [] for one layer classifier_stride  how far apart the head's layers are counted: 3 (ReLU, dropout) by
//   default pooled_size  positions a side that the features are pooled to before the head: 7 by default, 1 for CIFAR
#include <algorithm>
#include <map>

#include "espalier/core/error.h"
#include "espalier/families/family.h"
#include "espalier/families/vision_builder.h"
#include "espalier/families/vision_config.h"

namespace espalier::vgg_family {
namespace {

using List = std::vector<int64_t>;
constexpr int64_t kPool = 0, kMostWidth = 1 << 16;
constexpr size_t kMostLayers = 512;

struct VggFacts {
  List features;  // widths, kPool between
  bool batch_norm = false, single_name = false;
  List hidden;   // of the head
  List head_at;  // N of classifier.N, of each Linear layer
  int64_t pooled_size = 7, classes = 0;
  PictureShape picture;
};

List published_features(int64_t depth, const std::string& where) {
  const std::map<int64_t, List> repeats{
      {11, {1, 1, 2, 2, 2}}, {13, {2, 2, 2, 2, 2}}, {16, {2, 2, 3, 3, 3}}, {19, {2, 2, 4, 4, 4}}};
  const auto found = repeats.find(depth);
  if (found == repeats.end()) throw UserError(where, "depth", "11, 13, 16 or 19", fmt::format("{}", depth));
  List features;
  for (size_t stage = 0; stage < 5; ++stage) {
    features.insert(features.end(), static_cast<size_t>(found->second[stage]),
                    std::min<int64_t>(512, int64_t{64} << stage));
    features.push_back(kPool);
  }
  return features;
}

List read_features(const Json& config, const std::string& where) {
  const auto list = config.find("features");
  if (list == config.end()) return published_features(json_int(config, "depth", where, 11, 19), where);
  if (!list->is_array() || list->empty() || list->size() > kMostLayers)
    throw UserError(where, "features", fmt::format("a list of 1 to {} widths and \"M\"", kMostLayers), describe(*list));
  List features;
  for (const Json& entry : *list)
    features.push_back(entry == "M" ? kPool : json_int(Json{{"features", entry}}, "features", where, 1, kMostWidth));
  return features;
}

VggFacts read_facts(const Json& config, const std::string& where) {
  VggFacts facts;
  facts.features = read_features(config, where);
  facts.batch_norm = json_bool_or(config, "batch_norm", where, false);
  facts.picture = picture_shape(config, where, 224);
  facts.pooled_size = json_int_or(config, "pooled_size", where, 1, 64, facts.picture.height < 128 ? 1 : 7);
  facts.classes = class_count(config, where, 1000);
  const bool plain = config.contains("classifier") && config["classifier"].is_array() && config["classifier"].empty();
  if (!plain) facts.hidden = json_int_list(config, "classifier", where, 1, kMostWidth, 0, {4096, 4096});
  facts.single_name = plain;
  const int64_t stride = json_int_or(config, "classifier_stride", where, 1, 16, 3);
  List at;
  for (size_t i = 0; i <= facts.hidden.size(); ++i) at.push_back(static_cast<int64_t>(i) * stride);
  facts.head_at = plain ? List{0} : json_int_list(config, "classifier_at", where, 0, 64, at.size(), at);
  return facts;
}

ValueId features(VisionBuilder& b, const VggFacts& facts, ValueId x) {
  int64_t at = 0;
  for (int64_t width : facts.features) {
    const std::string name = fmt::format("features.{}", at);
    if (width == kPool) {
      x = b.max_pool(name, x, 2, 2, 0);
      ++at;
      continue;
    }
    ConvSpec spec{free_width(width), 3, 1, 1};
    spec.bias = b.source().has(name + ".bias", true);
    x = b.conv(name, x, spec);
    if (facts.batch_norm) x = b.batch_norm(fmt::format("features.{}", ++at), x);
    x = b.relu(fmt::format("features.{}.relu", at), x);
    at += 2;
  }
  return x;
}

// Adaptive pooling where it is exact: each output position is the mean of a square of the same size.
ValueId pooled(VisionBuilder& b, const VggFacts& facts, ValueId x) {
  const int64_t height = b.shape(x)[2], width = b.shape(x)[3], size = facts.pooled_size;
  if (height != width || height % size != 0)
    throw UserError(b.where(), "image_size", fmt::format("one whose features are a multiple of {} a side", size),
                    fmt::format("{} x {}", height, width));
  return height == size ? x : b.average_pool("avgpool", x, height / size);
}

Graph build_from(WeightSource source, const VggFacts& facts) {
  VisionBuilder b(std::move(source));
  const ValueId pictures = b.pictures(facts.picture.channels, facts.picture.height, facts.picture.width);
  ValueId x = b.flatten("flatten", pooled(b, facts, features(b, facts, pictures)));
  for (size_t i = 0; i < facts.head_at.size(); ++i) {
    const std::string name = facts.single_name ? "classifier" : fmt::format("classifier.{}", facts.head_at[i]);
    const bool last = i + 1 == facts.head_at.size();
    x = b.linear(name, x, free_width(last ? facts.classes : facts.hidden[i]));
    if (!last) x = b.relu(name + ".relu", x);
  }
  return b.finish({x}, 0, is_framework_buffer);
}

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  return build_from(WeightSource(checkpoint, config, where), read_facts(config, where));
}

Graph fresh(const Json& config, uint64_t seed, const std::string& where) {
  return build_from(WeightSource(seed, config, where), read_facts(config, where));
}

void write_config(Json& config, const Graph& graph) { write_module_widths(config, graph, fresh); }

// N of <list>.N.weight with so many dims, ascending.
List numbered(const WeightSource& source, const std::string& list, size_t rank) {
  List found;
  for (int64_t n = 0; n < static_cast<int64_t>(kMostLayers); ++n) {
    const std::string name = fmt::format("{}.{}.weight", list, n);
    if (source.has(name) && source.shape(name).size() == rank) found.push_back(n);
  }
  return found;
}

// A pooling fills the place of one module between two convolutions; one stands after the last.
Json described_features(const WeightSource& source, const List& convs, bool batch_norm) {
  Json features = Json::array();
  for (size_t i = 0; i < convs.size(); ++i) {
    features.push_back(source.shape(fmt::format("features.{}.weight", convs[i])).at(0));
    const int64_t next = i + 1 < convs.size() ? convs[i + 1] : convs[i] + 1000;
    if (next - convs[i] > (batch_norm ? 3 : 2)) features.push_back("M");
  }
  return features;
}

std::optional<Json> recognise(const Checkpoint& checkpoint) {
  const WeightSource source(checkpoint, Json::object(), checkpoint.path().string());
  const List convs = numbered(source, "features", 4), head = numbered(source, "classifier", 2);
  const bool single = source.has("classifier.weight");
  if (convs.size() < 5 || convs[0] != 0 || (head.empty() && !single)) return std::nullopt;
  if (source.has("features.3.squeeze.weight")) return std::nullopt;
  const bool batch_norm = source.has("features.1.running_mean");
  Json hidden = Json::array(), at = Json::array();
  for (size_t i = 0; i < head.size(); ++i) {
    at.push_back(head[i]);
    if (i + 1 < head.size()) hidden.push_back(source.shape(fmt::format("classifier.{}.weight", head[i])).at(0));
  }
  const std::string first = single ? "classifier.weight" : fmt::format("classifier.{}.weight", head[0]);
  const std::string last = single ? first : fmt::format("classifier.{}.weight", head.back());
  const int64_t channels = source.shape(fmt::format("features.{}.weight", convs.back())).at(0);
  const bool imagenet = source.shape(first).size() == 2 && channels > 0 && source.shape(first)[1] == 49 * channels;
  Json config = {{"model_type", "vgg"},
                 {"features", described_features(source, convs, batch_norm)},
                 {"batch_norm", batch_norm},
                 {"classifier", hidden},
                 {"pooled_size", imagenet ? 7 : 1},
                 {"image_size", imagenet ? 224 : 32},
                 {"num_channels", source.shape("features.0.weight").at(1)},
                 {"num_classes", source.shape(last).at(0)},
                 {"espalier_image", imagenet_image_facts(imagenet ? 256 : 0)}};
  if (!single) config["classifier_at"] = at;
  return config;
}

const RegisterFamily registered({"vgg", {"vgg"}, build, write_config, no_blocks, Task::kImages, recognise, fresh});

}  // namespace
}  // namespace espalier::vgg_family
