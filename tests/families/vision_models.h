// Tiny vision models and BERTs of every family, and the outputs that other implementations have of them
// (tests/families/data/vision_reference.json, made by tests/judge/make_vision_reference.py).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/families/tiny_models.h"

namespace espalier::test {

struct VisionReference {
  std::string name;
  TinyModel model;
  Shape input;  // pictures, or ids
  std::vector<std::vector<float>> outputs;
};

inline std::vector<VisionReference> vision_references() {
  const Json file = read_json(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/families/data/vision_reference.json");
  std::vector<VisionReference> cases;
  for (const Json& entry : file.at("cases")) {
    VisionReference& c = cases.emplace_back();
    c.name = entry.at("name");
    c.model.config = entry.at("config");
    for (const auto& [name, shape] : entry.at("tensors").items()) c.model.add(name, shape.get<Shape>());
    c.input = entry.at("input").get<Shape>();
    c.outputs = entry.at("outputs").get<std::vector<std::vector<float>>>();
  }
  return cases;
}

// Configurations small enough to cut every group many times.
inline const std::map<std::string, Json>& tiny_vision_configs() {
  static const std::map<std::string, Json> configs{
      {"ResNetBasic",
       {{"model_type", "resnet-torchvision"},
        {"layers", {1, 2}},
        {"widths", {8, 12}},
        {"image_size", 24},
        {"num_classes", 5}}},
      {"ResNetBottleneck",
       {{"model_type", "resnet-torchvision"},
        {"block", "bottleneck"},
        {"layers", {1, 1}},
        {"widths", {4, 6}},
        {"image_size", 24},
        {"num_classes", 5}}},
      {"ResNetHuggingFace",
       {{"model_type", "resnet"},
        {"embedding_size", 8},
        {"hidden_sizes", {8, 16}},
        {"depths", {1, 2}},
        {"layer_type", "bottleneck"},
        {"image_size", 24},
        {"num_labels", 5}}},
      {"ResNetCifar",
       {{"model_type", "resnet-cifar"},
        {"depth", 14},
        {"widths", {6, 10, 16}},
        {"image_size", 12},
        {"num_classes", 5}}},
      {"ResNetCifarB",
       {{"model_type", "resnet-cifar"},
        {"layers", {1, 1, 1}},
        {"widths", {6, 10, 16}},
        {"shortcut", "B"},
        {"image_size", 12},
        {"num_classes", 5}}},
      {"ResNetPlain",
       {{"model_type", "resnet-plain"},
        {"widths", {8, 10}},
        {"stem_width", 6},
        {"image_size", 12},
        {"num_classes", 5}}},
      {"WideResNet",
       {{"model_type", "wide-resnet"}, {"depth", 10}, {"widen_factor", 1}, {"image_size", 8}, {"num_classes", 5}}},
      {"Vgg",
       {{"model_type", "vgg"},
        {"features", {6, "M", 8, 10, "M"}},
        {"classifier", {12, 9}},
        {"pooled_size", 2},
        {"image_size", 16},
        {"num_classes", 5}}},
      {"VggBatchNormCifar",
       {{"model_type", "vgg"},
        {"features", {6, "M", 8, 10, "M"}},
        {"batch_norm", true},
        {"classifier", Json::array()},
        {"pooled_size", 1},
        {"image_size", 8},
        {"num_classes", 5}}},
      {"MobileNetV1", {{"model_type", "mobilenet-v1"}, {"width_mult", 0.125}, {"image_size", 32}, {"num_classes", 5}}},
      {"MobileNetV2",
       {{"model_type", "mobilenet-v2"},
        {"width_mult", 0.25},
        {"inverted_residual_setting", {{1, 32, 1, 1}, {2, 64, 2, 2}, {3, 64, 1, 1}}},
        {"image_size", 24},
        {"num_classes", 5}}},
      {"SqueezeNet10", {{"model_type", "squeezenet"}, {"version", "1.0"}, {"image_size", 48}, {"num_classes", 5}}},
      {"SqueezeNet11",
       {{"model_type", "squeezenet"},
        {"layout", "deepscale"},
        {"head_padding", 1},
        {"image_size", 35},
        {"num_classes", 5}}},
      {"ShuffleNet",
       {{"model_type", "shufflenet-v2"},
        {"stages_repeats", {3, 2}},
        {"stages_out_channels", {6, 12, 20, 14}},
        {"image_size", 32},
        {"num_classes", 5}}},
      {"Vit",
       {{"model_type", "vit"},
        {"hidden_size", 24},
        {"num_hidden_layers", 2},
        {"num_attention_heads", 4},
        {"intermediate_size", 20},
        {"image_size", 12},
        {"patch_size", 4},
        {"num_labels", 5}}},
      {"VitPacked",
       {{"model_type", "vit"},
        {"layout", "timm"},
        {"hidden_size", 24},
        {"num_hidden_layers", 2},
        {"num_attention_heads", 4},
        {"intermediate_size", 20},
        {"image_size", 12},
        {"patch_size", 4},
        {"num_labels", 5}}},
      {"VitPostNorm",
       {{"model_type", "vit"},
        {"layout", "encoder"},
        {"hidden_size", 24},
        {"num_hidden_layers", 2},
        {"num_attention_heads", 4},
        {"intermediate_size", 20},
        {"hidden_act", "relu"},
        {"image_size", 12},
        {"patch_size", 4},
        {"num_labels", 5}}},
      {"VitListedPatches",
       {{"model_type", "vit"},
        {"layout", "wrapped"},
        {"hidden_size", 24},
        {"num_hidden_layers", 2},
        {"num_attention_heads", 4},
        {"intermediate_size", 20},
        {"num_channels", 1},
        {"image_size", 12},
        {"patch_size", 4},
        {"attention_scale", 0.25},
        {"num_labels", 5}}},
      {"DeitWithTeacher",
       {{"model_type", "deit"},
        {"layout", "deit-with-teacher"},
        {"hidden_size", 24},
        {"num_hidden_layers", 2},
        {"num_attention_heads", 4},
        {"intermediate_size", 20},
        {"image_size", 12},
        {"patch_size", 4},
        {"num_labels", 5}}},
      {"Swin",
       {{"model_type", "swin"},
        {"embed_dim", 12},
        {"depths", {2, 2}},
        {"num_heads", {3, 6}},
        {"window_size", 4},
        {"mlp_ratio", 1.5},
        {"image_size", 32},
        {"patch_size", 4},
        {"num_labels", 5}}},
      {"SwinPadded",
       {{"model_type", "swin"},
        {"embed_dim", 12},
        {"depths", {2, 2}},
        {"num_heads", {3, 6}},
        {"window_size", 3},
        {"mlp_ratio", 1.5},
        {"image_size", 28},
        {"patch_size", 4},
        {"num_labels", 5}}},
      {"Bert",
       {{"model_type", "bert"},
        {"vocab_size", 31},
        {"hidden_size", 24},
        {"num_hidden_layers", 2},
        {"num_attention_heads", 4},
        {"intermediate_size", 20},
        {"max_position_embeddings", 9},
        {"num_labels", 5}}},
      {"DistilBert",
       {{"model_type", "distilbert"},
        {"vocab_size", 31},
        {"dim", 24},
        {"n_layers", 2},
        {"n_heads", 4},
        {"hidden_dim", 20},
        {"max_position_embeddings", 9},
        {"num_labels", 5}}}};
  return configs;
}

// A model of the configuration whose weights follow from their names, written into a directory that exists, and loaded.
inline Model load_tiny_vision(const std::filesystem::path& directory, const Json& config) {
  const Family& family = find_family(config.at("model_type").get<std::string>(), "test");
  const Graph shapes = family.fresh(config, 0, "test");
  TinyModel model{config, {}};
  for (const auto& parameter : shapes.parameters()) model.add(parameter->name(), parameter->shape());
  write_tiny(directory, model);
  return load_model(directory);
}

}  // namespace espalier::test
