// Trained networks in the engine, whole and cut, against the interpreter, or, where a network amplifies rounding,
// against the interpreter in double precision.
#include <gtest/gtest.h>

#include "espalier/families/family.h"
#include "tests/lab/engine/against_interpreter.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

struct RealCase {
  const char *name, *path;
  double low, high;  // of the inputs
  bool cut;          // also with a third of its channels cut
};

void PrintTo(const RealCase& c, std::ostream* out) { *out << c.name; }

class EngineRealModels : public ::testing::TestWithParam<RealCase> {};

TEST_P(EngineRealModels, ComputeWhatTheInterpreterDoes) {
  const RealCase& c = GetParam();
  ESP_NEED_SHARED(path, c.path);
  const Model model = load_model(path);
  Rng rng(1, c.name);
  Graph graph = model.graph.clone();
  infer_shapes(graph, model.example_inputs);
  expect_same_as_interpreter(graph, model.input_dtypes, rng, c.name, 1e-4, c.low, c.high);
  if (!c.cut) return;
  Graph smaller = cut_somewhere(model.graph, 3);
  ASSERT_LT(smaller.parameter_count(), graph.parameter_count());
  infer_shapes(smaller, model.example_inputs);
  expect_same_as_interpreter(smaller, model.input_dtypes, rng, std::string(c.name) + " cut", 1e-4, c.low, c.high);
}

INSTANTIATE_TEST_SUITE_P(
    Shared, EngineRealModels,
    ::testing::Values(RealCase{"ResNet20", "data/cifar10-resnets/resnet20-12fca82f.safetensors", -2, 2, true},
                      RealCase{"ResNet56", "data/cifar10-resnets/resnet56-4bfd9763.safetensors", -2, 2, true},
                      RealCase{"SqueezeNet", "data/squeezenet1.1-imagenet/model.safetensors", -2, 2, true},
                      RealCase{"VitMnist", "data/vit-mnist/vit_mnist.safetensors", -1, 1, true},
                      RealCase{"VitCifar4", "data/vit-cifar10-4L64/vit_model.safetensors", -1, 1, true},
                      RealCase{"VitCifar6", "data/vit-cifar10-6L128/vit_cifar10.safetensors", -1, 1, true},
                      RealCase{"UltraFace", "data/ultraface-rfb320/version-RFB-320.onnx", -1, 1, true}),
    [](const auto& info) { return std::string(info.param.name); });

// Its deep chain of norms makes much of the last bit: two correct fp32 programs differ by 1e-4 of the output.
TEST(EngineYolox, IsAsCloseToDoublePrecisionAsTheInterpreter) {
  ESP_NEED_SHARED(path, "data/yolox-nano-coco/yolox_nano.onnx");
  const Model model = load_model(path);
  Rng rng(1, "yolox");
  const std::vector<Tensor> inputs{random_tensor(DType::kF32, model.example_inputs[0], rng, 0, 255)};
  const at::NoGradGuard no_gradients;
  Weights weights(model.graph);
  for (const auto& parameter : model.graph.parameters())
    weights.set(parameter->name(), to_torch(parameter->load()).to(at::kDouble));
  Environment values{{model.graph.inputs[0], to_torch(inputs[0]).to(at::kDouble)}};
  Interpreter(model.graph, weights).run(values, 0, static_cast<NodeId>(model.graph.nodes.size()));
  const at::Tensor exact = values.at(model.graph.outputs[0]);
  const auto distance = [&](const at::Tensor& y) { return (y.to(at::kDouble) - exact).abs().max().item<double>(); };
  GraphRunner runner(model.graph, model.example_inputs);
  const double engine = distance(to_torch(runner.run(inputs)[0])),
               interpreter = distance(interpret(model.graph, inputs)[0]);
  EXPECT_LT(engine, 2 * interpreter);
  EXPECT_LT(engine, 1e-3 * exact.abs().max().item<double>());
}

}  // namespace
}  // namespace espalier::test
