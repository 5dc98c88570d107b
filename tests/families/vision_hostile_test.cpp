// Vision configurations and checkpoints that are wrong: one line that names the file, the field or tensor, what was
// expected and what was found, and nothing large is allocated on the way.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/families/vision_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

class VisionHostile : public ::testing::Test {
 protected:
  // A tiny model with `key` of its configuration replaced.
  Model load_with(const std::string& name, const std::string& key, const Json& value) {
    Json config = test::tiny_vision_configs().at(name);
    if (!std::filesystem::exists(dir_ / name)) test::load_tiny_vision(dir_ / name, config);
    config[key] = value;
    std::ofstream(dir_ / name / "config.json") << config.dump();
    return load_model(dir_ / name);
  }
  Graph fresh_with(const std::string& name, const std::string& key, const Json& value) {
    Json config = test::tiny_vision_configs().at(name);
    config[key] = value;
    return find_family(config.at("model_type").get<std::string>(), "test").fresh(config, 0, "config.json");
  }
  // Both with weights and without.
  void refuses(const std::string& name, const std::string& key, const Json& value, const std::string& fragment) {
    ESP_EXPECT_USER_ERROR(load_with(name, key, value), fragment);
    ESP_EXPECT_USER_ERROR(fresh_with(name, key, value), fragment);
  }
  // A tiny model whose tensor has another shape, or (an empty one) none.
  Model load_reshaped(const std::string& name, const std::string& tensor, const Shape& shape) {
    const Json config = test::tiny_vision_configs().at(name);
    const Graph shapes = find_family(config.at("model_type").get<std::string>(), "test").fresh(config, 0, "test");
    test::TinyModel model{config, {}};
    for (const auto& parameter : shapes.parameters()) {
      const bool changed = parameter->name() == tensor;
      if (!changed || !shape.empty()) model.add(parameter->name(), changed ? shape : parameter->shape());
    }
    test::write_tiny(dir_ / "reshaped", model);
    return load_model(dir_ / "reshaped");
  }
  test::TempDir dir_;
};

TEST_F(VisionHostile, Depths) {
  refuses("ResNetBasic", "layers", {-1, 2}, "layers: expected an integer from 1 to 4096, found -1");
  refuses("ResNetBasic", "layers", {1000000000, 2}, "found 1000000000");
  refuses("ResNetBasic", "layers", "2", "expected a list of 1 to 4096 integers, found \"2\"");
  refuses("ResNetBasic", "layers", Json::array(), "found 0 entries");
  refuses("ResNetHuggingFace", "depths", {1, 1000000000}, "found 1000000000");
  refuses("ResNetCifar", "depth", -2, "found -2");
  refuses("ResNetCifar", "depth", 15, "depth: expected 6 n + 2, found 15");
  refuses("WideResNet", "depth", 1000000000, "found 1000000000");
  refuses("ShuffleNet", "stages_repeats", {3, 1000000000}, "found 1000000000");
  refuses("Vit", "num_hidden_layers", -1, "num_hidden_layers: expected an integer from 0 to 4096, found -1");
  refuses("Vit", "num_hidden_layers", 1000000000, "found 1000000000");
  refuses("Swin", "depths", {2, 1000000000}, "found 1000000000");
  refuses("Bert", "num_hidden_layers", 1000000000, "found 1000000000");
  refuses("DistilBert", "n_layers", 1000000000, "found 1000000000");
}

TEST_F(VisionHostile, DepthsThatTheTensorsContradict) {
  ESP_EXPECT_USER_ERROR(
      load_with("ResNetBasic", "layers", {1, 3}),
      "blocks of stage 2: expected 2, as many as the checkpoint has tensors for ('layer2.{}.'), found 3");
  ESP_EXPECT_USER_ERROR(load_with("Vit", "num_hidden_layers", 3), "num_hidden_layers: expected 2");
  ESP_EXPECT_USER_ERROR(load_with("Swin", "depths", {2, 3}), "needs the tensor 'swin.encoder.layers.1.blocks.2");
  ESP_EXPECT_USER_ERROR(load_with("Swin", "depths", {2, 1}), "which this architecture does not have");
}

TEST_F(VisionHostile, WidthsHeadsAndSizes) {
  refuses("ResNetBasic", "widths", {8, 0}, "widths: expected an integer from 1 to");
  refuses("ResNetBasic", "block", "fancy", "block: expected basic or bottleneck, found fancy");
  refuses("ResNetBasic", "image_size", 1000000000, "image_size: expected an integer from 1 to");
  refuses("ResNetBasic", "image_size", {24, 24, 24}, "image_size: expected a list of 2 integers, found 3 entries");
  refuses("ResNetCifar", "shortcut", "C", "shortcut: expected A or B, found C");
  refuses("Vgg", "features", {6, "P", 8}, "features: expected an integer");
  refuses("Vgg", "image_size", 20, "image_size: expected one whose features are a multiple of 2 a side, found 5 x 5");
  refuses("Vgg", "image_size", 2, "window: expected at most the padded size 1, found 2");
  refuses("MobileNetV2", "width_mult", -1, "width_mult: expected a number above 0, at most 64, found -1");
  refuses("MobileNetV2", "inverted_residual_setting", {{1, 2}}, "expected a list of 4 integers, found 2 entries");
  refuses("SqueezeNet10", "version", "2.0", "version: expected 1.0 or 1.1, found 2.0");
  refuses("Vit", "num_attention_heads", 0, "num_attention_heads: expected an integer from 1 to");
  refuses("Vit", "num_attention_heads", 5, "heads: expected a divisor of the hidden size, or a head size, found 5");
  refuses("Vit", "patch_size", 64, "patch_size: expected an integer from 1 to 12, found 64");
  refuses("Vit", "hidden_act", "wobble", "activation: expected");
  refuses("Swin", "num_heads", {3, 5}, "num_heads: expected numbers that give all stages heads of one size");
  ESP_EXPECT_USER_ERROR(fresh_with("Swin", "window_size", 5),
                        "window_size: expected at most the 4 positions a side of every stage, found 5");
  refuses("Bert", "vocab_size", -1, "vocab_size: expected an integer from 1 to");
  refuses("Bert", "position_embedding_type", "relative_key", "position_embedding_type: expected absolute");
}

TEST_F(VisionHostile, EspalierBlock) {
  refuses("ResNetBasic", "espalier", 3, "espalier: expected an object, found 3");
  refuses("ResNetBasic", "espalier", {{"format", 2}}, "format: expected an integer from 1 to 1, found 2");
  refuses("ResNetBasic", "espalier", {{"format", 1}, {"widths", {{"nobody", 3}}}}, "the architecture has no 'nobody'");
  refuses("ResNetBasic", "espalier", {{"format", 1}, {"widths", {{"layer1.0.conv1", -3}}}},
          "layer1.0.conv1: expected an integer from 1 to");
  ESP_EXPECT_USER_ERROR(load_with("ResNetBasic", "espalier", {{"format", 1}, {"widths", {{"layer1.0.conv1", 3}}}}),
                        "widths: layer1.0.conv1: expected 8, as its tensor has, found 3");
  refuses("ResNetBasic", "espalier", {{"format", 1}, {"widths", {{"layer1.0.conv2", 3}}}},
          "widths: layer1.0.conv2: expected 8, as its neighbours have, found 3");
  refuses("ShuffleNet", "espalier", {{"format", 1}, {"indices", {{"stage2.0.shuffle", {0, "a"}}}}},
          "stage2.0.shuffle: expected channel numbers");
  refuses("ShuffleNet", "espalier", {{"format", 1}, {"indices", {{"stage2.0.shuffle", {99}}}}},
          "indices: expected -12 to 11, found 99");
  refuses("Vit", "espalier", {{"format", 1}, {"layers", {{{"heads", 4}, {"ffn", 20}}}}},
          "layers: expected a list of 2 blocks, found 1");
}

TEST_F(VisionHostile, TensorsThatContradictTheirNeighbours) {
  ESP_EXPECT_USER_ERROR(load_reshaped("ResNetBasic", "layer1.0.conv2.weight", {8, 7, 3, 3}),
                        "shape of the tensor 'layer1.0.conv2.weight': expected [8, 8, 3, 3], found [8, 7, 3, 3]");
  ESP_EXPECT_USER_ERROR(load_reshaped("ResNetBasic", "layer1.0.conv2.weight", {9, 8, 3, 3}),
                        "expected [8, 8, 3, 3], found [9, 8, 3, 3]");
  ESP_EXPECT_USER_ERROR(load_reshaped("ResNetBasic", "layer1.0.bn1.weight", {7}),
                        "'layer1.0.bn1.weight': expected [8], found [7]");
  ESP_EXPECT_USER_ERROR(load_reshaped("ResNetBasic", "layer1.0.conv1.weight", {8, 8, 3}),
                        "expected [8, 8, 3, 3], found [8, 8, 3]");
  ESP_EXPECT_USER_ERROR(load_reshaped("ResNetBasic", "layer1.0.conv1.weight", {0, 8, 3, 3}),
                        "output channels, found [0, 8, 3, 3]");
  ESP_EXPECT_USER_ERROR(load_reshaped("ResNetBasic", "fc.weight", {}),
                        "needs the tensor 'fc.weight', which the checkpoint lacks");
  ESP_EXPECT_USER_ERROR(fresh_with("ResNetCifar", "espalier", {{"format", 1}, {"widths", {{"layer2.0.conv2", 9}}}}),
                        "'layer2.0.conv2': expected the 6 of the shortcut and an even number more, found 9");
  ESP_EXPECT_USER_ERROR(load_reshaped("ShuffleNet", "stage2.1.branch2.0.weight", {6, 12, 1, 1}),
                        "expected 1 to 11, found 12");
  ESP_EXPECT_USER_ERROR(load_reshaped("Vgg", "classifier.0.weight", {12, 41}), "expected [12, 40], found [12, 41]");
  ESP_EXPECT_USER_ERROR(load_reshaped("Vit", "vit.embeddings.position_embeddings", {1, 9, 24}),
                        "expected [1, 10, 24], found [1, 9, 24]");
  ESP_EXPECT_USER_ERROR(load_reshaped("Vit", "vit.encoder.layer.1.attention.attention.query.weight", {23, 24}),
                        "expected whole heads of the size 6, found [23, 24]");
  ESP_EXPECT_USER_ERROR(load_reshaped("VitPacked", "blocks.0.attn.qkv.weight", {73, 24}),
                        "expected [72, 24], found [73, 24]");
  ESP_EXPECT_USER_ERROR(
      load_reshaped("Swin", "swin.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table", {49, 2}),
      "expected [49, 3], found [49, 2]");
  ESP_EXPECT_USER_ERROR(load_reshaped("Bert", "bert.encoder.layer.0.output.dense.weight", {25, 20}),
                        "expected [24, 20], found [25, 20]");
}

TEST_F(VisionHostile, ADecoderOfItsOwnIsNotTakenForTheEmbedding) {
  Json config = test::tiny_vision_configs().at("Bert");
  config.erase("num_labels");
  config["architectures"] = {"BertForMaskedLM"};
  const Graph shapes = find_family("bert", "test").fresh(config, 0, "test");
  for (const bool tied : {true, false}) {
    config["tie_word_embeddings"] = tied;
    test::TinyModel model{config, {}};
    for (const auto& parameter : shapes.parameters()) model.add(parameter->name(), parameter->shape());
    model.add("cls.predictions.decoder.weight", {31, 24});
    test::write_tiny(dir_ / "decoder", model);
    if (tied) load_model(dir_ / "decoder");
    else ESP_EXPECT_USER_ERROR(load_model(dir_ / "decoder"), "tie_word_embeddings: expected true: a decoder with weights of its own is not supported, found false");
  }
}

// Widths of fresh models may be as large as a configuration likes: only names and shapes are made.
TEST_F(VisionHostile, HugeFreshModelsAllocateNothing) {
  const Graph graph = fresh_with("Vit", "intermediate_size", 1 << 26);
  EXPECT_GT(graph.parameter_count(), int64_t{1} << 31);
  ESP_EXPECT_USER_ERROR(fresh_with("Vit", "hidden_size", 1 << 24),
                        "hidden_size: expected an integer from 1 to 1048576");
}

}  // namespace
}  // namespace espalier
