// The house law on real networks, from checkpoints and from ONNX files, without a rule for any of them: with every
// group cut at random at 10, 30 and 70 %, the masked model computes what the cut one does.
#include <gtest/gtest.h>

#include <set>

#include "espalier/core/file.h"
#include "espalier/families/family.h"
#include "espalier/families/onnx/export.h"
#include "espalier/lab/measure/probe.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"
#include "espalier/structure/surgery.h"
#include "tests/structure/random_cuts.h"
#include "tests/support.h"

namespace espalier {
namespace {

// Largest difference of any output, by the output's own scale.
double distance(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, (a[i] - b[i]).abs().max().item<double>() / std::max(1.0, a[i].abs().max().item<double>()));
  return worst;
}

// Groups that meet in a Slice, a Gather or a split dim must go in one cut, so all go together.
void expect_masked_equals_cut(const Model& model) {
  const Coupling coupling = find_coupling(model.graph);
  ASSERT_FALSE(coupling.groups.empty());
  const auto inputs = probe_inputs(model, 0);
  const auto dense = run_graph(model.graph, inputs);
  for (double share : {0.1, 0.3, 0.7}) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      Mask mask = Mask::for_model(model.graph);
      std::vector<GroupCut> cuts;
      for (const auto& group : coupling.groups) {
        Rng rng(seed, group.label);
        const auto keep = test::random_keep(group.set_count, share, rng);
        if (group.set_count < 2 || !test::leaves_every_dim(group, keep)) continue;
        mask.remove_units(group, keep);
        cuts.push_back(test::cut_of(group, keep));
      }
      ASSERT_GE(cuts.size() * 2, coupling.groups.size());
      Graph smaller = model.graph.clone();
      cut(smaller, coupling, cuts);
      EXPECT_LT(smaller.parameter_count(), model.graph.parameter_count());
      const auto masked = run_graph(apply_mask(model.graph, mask), inputs);
      EXPECT_LT(distance(masked, run_graph(smaller, inputs)), 1e-5) << share << " seed " << seed;
      EXPECT_GT(distance(masked, dense), 1e-6) << share << " seed " << seed;
    }
  }
}

struct RealNetwork {
  const char *name, *path;
};

const RealNetwork kNetworks[] = {{"ResNet20", "cifar10-resnets/resnet20-12fca82f.th"},
                                 {"ResNet56", "cifar10-resnets/resnet56-4bfd9763.safetensors"},
                                 {"SqueezeNet", "squeezenet1.1-imagenet"},
                                 {"UltraFace", "ultraface-rfb320/version-RFB-320.onnx"},
                                 {"YoloxNano", "yolox-nano-coco/yolox_nano.onnx"},
                                 {"VitCifar4L64", "vit-cifar10-4L64/vit_model.safetensors"},
                                 {"VitCifar6L128", "vit-cifar10-6L128/vit_cifar10.safetensors"},
                                 {"VitMnist", "vit-mnist/vit_mnist.safetensors"}};

class MaskedCutReal : public ::testing::TestWithParam<RealNetwork> {};

TEST_P(MaskedCutReal, EveryGroupAtEveryShare) {
  ESP_NEED_SHARED(path, std::filesystem::path("data") / GetParam().path);
  expect_masked_equals_cut(load_model(path));
}

INSTANTIATE_TEST_SUITE_P(Networks, MaskedCutReal, ::testing::ValuesIn(kNetworks), [](const auto& info) { return info.param.name; });

TEST(MaskedCutReal, MobileNetV2) {
  const test::TempDir dir;
  write_file_atomically(dir / "config.json", R"({"model_type": "mobilenet-v2", "width_mult": 0.35, "image_size": 96, "num_classes": 10})");
  expect_masked_equals_cut(load_model(dir.path()));
}

TEST(MaskedCutReal, LlamaExportedToOnnx) {
  ESP_NEED_SHARED(path, "data/llama2c-stories260K/hf");
  const test::TempDir dir;
  const Model source = load_model(path);
  write_onnx_model(source.graph, costing_shapes(source), nullptr, dir / "llama.onnx");
  const std::string ids = source.graph.values[static_cast<size_t>(source.graph.inputs[0])].name;
  const Model model = load_model(dir / "llama.onnx", {.seed = 0, .input_shapes = {{ids, {1, 24}}}});
  EXPECT_TRUE(model.onnx);
  expect_masked_equals_cut(model);
}

}  // namespace
}  // namespace espalier
