// Checkpoints without a configuration: the names of their tensors tell the family, and what was written from a fresh
// model of each family is recognised as that.
#include <gtest/gtest.h>

#include "tests/families/vision_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

Model recognised(const std::filesystem::path& directory, const Json& config) {
  test::load_tiny_vision(directory, config);
  std::filesystem::remove(directory / "config.json");
  return load_model(directory);
}

Json tiny(const std::string& name) { return test::tiny_vision_configs().at(name); }

TEST(Recognise, NamesTellTheFamily) {
  const test::TempDir dir;
  for (const char* name :
       {"ResNetCifar", "ResNetCifarB", "ResNetPlain", "WideResNet", "MobileNetV1", "ShuffleNet", "SqueezeNet11"}) {
    SCOPED_TRACE(name);
    const Json config = tiny(name);
    const Model model = recognised(dir / name, config);
    EXPECT_EQ(model.config.at("model_type"), config.at("model_type"));
    EXPECT_EQ(model.classes, 5);
    for (const char* key : {"layers", "widths", "shortcut", "stages_repeats", "stages_out_channels", "version",
                            "head_padding", "width_mult"})
      if (config.contains(key) && model.config.contains(key)) EXPECT_EQ(model.config.at(key), config.at(key)) << key;
  }
}

TEST(Recognise, ImageNetForms) {
  const test::TempDir dir;
  const Json resnext{{"model_type", "resnet-torchvision"},
                     {"block", "bottleneck"},
                     {"layers", {1, 1}},
                     {"widths", {16, 32}},
                     {"groups", 4},
                     {"width_per_group", 32},
                     {"num_classes", 5}};
  const Model model = recognised(dir / "resnext", resnext);
  for (const auto& [key, value] : resnext.items()) EXPECT_EQ(model.config.at(key), value) << key;
  EXPECT_EQ(model.image.height, 224);
  EXPECT_EQ(model.image.resize_short, 256);
  const Json vgg{{"model_type", "vgg"},
                 {"features", {4, "M", 4, "M", 4, "M", 4, "M", 4, "M"}},
                 {"batch_norm", true},
                 {"classifier", {6, 6}},
                 {"num_classes", 5}};
  const Model second = recognised(dir / "vgg", vgg);
  EXPECT_EQ(second.config.at("features"), vgg.at("features"));
  EXPECT_EQ(second.config.at("classifier"), vgg.at("classifier"));
}

TEST(Recognise, TransformersOfEachLayout) {
  const test::TempDir dir;
  for (const char* layout :
       {"timm", "torchvision", "multihead", "encoder", "wrapped", "vit", "deit", "deit-with-teacher"}) {
    SCOPED_TRACE(layout);
    const bool wrapped = std::string(layout) == "wrapped";
    const Json config{{"model_type", std::string(layout).starts_with("deit") ? "deit" : "vit"},
                      {"layout", layout},
                      {"hidden_size", 64},
                      {"num_hidden_layers", 2},
                      {"num_attention_heads", 4},
                      {"intermediate_size", 32},
                      {"image_size", 12},
                      {"patch_size", 4},
                      {"num_channels", wrapped ? 1 : 3},
                      {"num_labels", 5}};
    const Model model = recognised(dir / layout, config);
    EXPECT_EQ(model.config.at("layout"), layout);
    for (const char* key :
         {"hidden_size", "num_hidden_layers", "intermediate_size", "image_size", "patch_size", "num_channels"})
      EXPECT_EQ(model.config.at(key), config.at(key)) << key;
    EXPECT_EQ(model.image.channels, wrapped ? 1 : 3);
    if (wrapped) EXPECT_EQ(model.graph.node("transformer.layers.1.attention").real("scale"), 0.125);
  }
}

TEST(Recognise, StrangersAreRefused) {
  const test::TempDir dir;
  test::TinyModel model;
  model.add("somebody.weight", {3, 3});
  test::write_tiny(dir / "m", model);
  std::filesystem::remove(dir / "m" / "config.json");
  ESP_EXPECT_USER_ERROR(load_model(dir / "m"), "the tensors are named like those of no known family");
}

}  // namespace
}  // namespace espalier
