// Published sizes of published architectures: parameters (statistics of BatchNorm are none) and multiply-adds of one
// picture, from configurations alone. Nothing is allocated for weights that nobody asks for.
#include <gtest/gtest.h>

#include "espalier/graph/operator.h"
#include "tests/families/vision_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

Graph fresh(const Json& config, uint64_t seed = 0) {
  return find_family(config.at("model_type").get<std::string>(), "test").fresh(config, seed, "config");
}

struct Published {
  const char* name;
  Json config;
  int64_t parameters;
  double multiply_adds;  // in 10^9, of convolutions, Linear layers and attention; 0: not published
};

class PublishedSizes : public ::testing::TestWithParam<Published> {};

double multiply_adds(const Graph& graph) {
  double flops = 0;
  for (const Node& node : graph.nodes)
    if (node.op == "Conv" || node.op == "Linear" || node.op == "Attention" || node.op == "MatMul")
      flops += cost_of(graph, node).flops;
  return flops / 2e9;
}

TEST_P(PublishedSizes, Agree) {
  const Graph graph = fresh(GetParam().config);
  EXPECT_EQ(graph.parameter_count(), GetParam().parameters);
  if (GetParam().multiply_adds > 0)
    EXPECT_NEAR(multiply_adds(graph), GetParam().multiply_adds, 0.005 * GetParam().multiply_adds);
}

const Json kBottleneck{{"model_type", "resnet-torchvision"}, {"block", "bottleneck"}};

Json with(Json config, const Json& more) {
  config.update(more);
  return config;
}

// Parameters of torchvision's documentation (multiply-adds: the same), of He et al.'s tables for CIFAR, of the papers
// and of transformers.
const Published kPublished[] = {
    {"ResNet20", {{"model_type", "resnet-cifar"}, {"depth", 20}}, 269722, 0.0406},
    {"ResNet56", {{"model_type", "resnet-cifar"}, {"depth", 56}}, 853018, 0.1255},
    {"ResNet110", {{"model_type", "resnet-cifar"}, {"depth", 110}}, 1727962, 0.2529},
    {"ResNet18", {{"model_type", "resnet-torchvision"}, {"layers", {2, 2, 2, 2}}}, 11689512, 1.814},
    {"ResNet34", {{"model_type", "resnet-torchvision"}, {"layers", {3, 4, 6, 3}}}, 21797672, 3.664},
    {"ResNet50", with(kBottleneck, {{"layers", {3, 4, 6, 3}}}), 25557032, 4.089},
    {"ResNet101", with(kBottleneck, {{"layers", {3, 4, 23, 3}}}), 44549160, 7.801},
    {"WideResNet50", with(kBottleneck, {{"layers", {3, 4, 6, 3}}, {"width_per_group", 128}}), 68883240, 11.398},
    {"ResNext50", with(kBottleneck, {{"layers", {3, 4, 6, 3}}, {"groups", 32}, {"width_per_group", 4}}), 25028904,
     4.23},
    {"ResNet50HuggingFace", {{"model_type", "resnet"}, {"num_labels", 1000}}, 25557032, 4.089},
    {"WideResNet28", {{"model_type", "wide-resnet"}, {"depth", 28}, {"widen_factor", 10}}, 36479194, 5.24},
    {"Vgg11", {{"model_type", "vgg"}, {"depth", 11}}, 132863336, 7.609},
    {"Vgg16", {{"model_type", "vgg"}, {"depth", 16}}, 138357544, 15.47},
    {"Vgg16BatchNorm", {{"model_type", "vgg"}, {"depth", 16}, {"batch_norm", true}}, 138365992, 15.47},
    {"Vgg19", {{"model_type", "vgg"}, {"depth", 19}}, 143667240, 19.632},
    {"Vgg16Cifar",
     {{"model_type", "vgg"},
      {"depth", 16},
      {"batch_norm", true},
      {"classifier", Json::array()},
      {"image_size", 32},
      {"num_classes", 10}},
     14728266,
     0.3132},
    {"MobileNetV1", {{"model_type", "mobilenet-v1"}}, 4231976, 0.569},
    {"MobileNetV2", {{"model_type", "mobilenet-v2"}}, 3504872, 0.301},
    {"SqueezeNet10", {{"model_type", "squeezenet"}, {"version", "1.0"}}, 1248424, 0.819},
    {"SqueezeNet11", {{"model_type", "squeezenet"}}, 1235496, 0.349},
    {"ShuffleNetV2", {{"model_type", "shufflenet-v2"}}, 2278604, 0.145},
    {"VitB16", {{"model_type", "vit"}, {"num_labels", 1000}}, 86567656, 17.58},
    {"DeitS16",
     {{"model_type", "deit"},
      {"layout", "timm"},
      {"hidden_size", 384},
      {"num_attention_heads", 6},
      {"intermediate_size", 1536}},
     22436432,
     0},
    {"SwinT", {{"model_type", "swin"}}, 28288354, 4.5},
    {"BertBase", {{"model_type", "bert"}, {"vocab_size", 30522}}, 109482240, 0},
    {"DistilBertBase", {{"model_type", "distilbert"}, {"vocab_size", 30522}}, 66362880, 0}};

INSTANTIATE_TEST_SUITE_P(Models, PublishedSizes, ::testing::ValuesIn(kPublished),
                         [](const auto& model) { return std::string(model.param.name); });

TEST(FreshWeights, FollowFromSeedAndName) {
  const Json config = test::tiny_vision_configs().at("ResNetBasic");
  const std::string name = "layer1.0.conv1.weight";
  const auto first = fresh(config, 7).parameter(name).load().to_floats(),
             again = fresh(config, 7).parameter(name).load().to_floats();
  EXPECT_EQ(first, again);
  EXPECT_NE(first, fresh(config, 8).parameter(name).load().to_floats());
  EXPECT_NE(first, fresh(config, 7).parameter("layer1.0.conv2.weight").load().to_floats());
}

double deviation(const std::vector<float>& values) {
  double sum = 0, squares = 0;
  for (float value : values) sum += value, squares += static_cast<double>(value) * value;
  const auto count = static_cast<double>(values.size());
  return std::sqrt(squares / count - sum / count * (sum / count));
}

TEST(FreshWeights, HaveTheDeviationsOfTheirPapers) {
  const Graph net = fresh({{"model_type", "resnet-cifar"}, {"depth", 20}});
  EXPECT_NEAR(deviation(net.parameter("layer3.1.conv1.weight").load().to_floats()), std::sqrt(2.0 / (64 * 9)), 2e-3);
  EXPECT_NEAR(deviation(net.parameter("linear.weight").load().to_floats()), 1 / std::sqrt(64.0) / std::sqrt(3.0), 5e-3);
  const Graph depthwise = fresh({{"model_type", "mobilenet-v2"}});
  EXPECT_NEAR(deviation(depthwise.parameter("features.17.conv.1.0.weight").load().to_floats()), std::sqrt(2.0 / 9),
              2e-2);
  for (float value : net.parameter("bn1.running_var").load().to_floats()) EXPECT_EQ(value, 1);
  for (float value : net.parameter("bn1.bias").load().to_floats()) EXPECT_EQ(value, 0);
  const Graph vit =
      fresh({{"model_type", "vit"}, {"hidden_size", 64}, {"num_attention_heads", 4}, {"num_hidden_layers", 1}});
  const auto values = vit.parameter("vit.encoder.layer.0.intermediate.dense.weight").load().to_floats();
  EXPECT_NEAR(deviation(values), 0.02 * 0.8796, 5e-4);  // of a normal cut at two deviations
  EXPECT_LE(*std::max_element(values.begin(), values.end()), 0.04);
}

TEST(FreshWeights, LoadFromADirectoryWithoutWeights) {
  const test::TempDir dir;
  std::filesystem::create_directories(dir / "m");
  write_file_atomically(dir / "m" / "config.json", test::tiny_vision_configs().at("Swin").dump());
  const Model model = load_model(dir / "m");
  EXPECT_EQ(model.task, Task::kImages);
  EXPECT_EQ(model.classes, 5);
  EXPECT_EQ(model.image.height, 32);
  EXPECT_EQ(model.checkpoint, nullptr);
  EXPECT_EQ(model.graph.block_count, 4);
}

}  // namespace
}  // namespace espalier
