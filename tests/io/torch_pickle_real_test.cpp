// Torch files from other people's training runs, against the same weights as safetensors.
#include <gtest/gtest.h>

#include "espalier/io/checkpoint.h"
#include "espalier/io/checkpoint_values.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::string bytes_of(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes()), tensor.byte_size()};
}

void expect_same_weights(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.names().size(), b.names().size());
  for (const std::string& name : a.names()) {
    ASSERT_TRUE(b.has(name)) << name;
    EXPECT_EQ(a.shape(name), b.shape(name)) << name;
    EXPECT_EQ(a.dtype(name), b.dtype(name)) << name;
    EXPECT_EQ(bytes_of(a.tensor(name)), bytes_of(b.tensor(name))) << name;
  }
}

TEST(TorchPickleReal, VisionTransformerInTheZipForm) {
  ESP_NEED_SHARED(folder, "data/vit-mnist");
  const auto torch = Checkpoint::open(folder / "vit_mnist.pth");
  EXPECT_EQ(torch->shape("pos_embedding"), (Shape{1, 17, 64}));
  expect_same_weights(*torch, *Checkpoint::open(folder / "vit_mnist.safetensors"));
  expect_same_weights(*torch, *Checkpoint::open(folder));
}

TEST(TorchPickleReal, FaceDetectorInTheOldForm) {
  ESP_NEED_SHARED(folder, "data/ultraface-rfb320");
  expect_same_weights(*Checkpoint::open(folder / "version-RFB-320.pth"),
                      *Checkpoint::open(folder / "version-RFB-320.safetensors"));
}

TEST(TorchPickleReal, LanguageModelInATrainingCheckpoint) {
  ESP_NEED_SHARED(folder, "data/tinygpt-char-shakespeare");
  const auto torch = Checkpoint::open(folder / "tinygpt.pt");
  EXPECT_EQ(torch->names().at(0), "token_embedding.weight");
  EXPECT_EQ(torch->shape("token_embedding.weight"), (Shape{65, 96}));
  EXPECT_TRUE(inspect_values(*torch).finite());
  const auto converted = Checkpoint::open(folder / "hf");
  EXPECT_EQ(bytes_of(torch->tensor("token_embedding.weight")), bytes_of(converted->tensor("transformer.wte.weight")));
}

TEST(CheckpointReal, SafetensorsOfTheSharedModelsOpenAndAreFinite) {
  for (const char* name : {"llama2c-stories260K/hf", "tinygpt-char-shakespeare/hf", "mini-clip-fashion-products",
                           "squeezenet1.1-imagenet", "kwt1-speech-commands"}) {
    const auto path = test::shared_dir() / "data" / name;
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path;
    bool has_weights = false;
    for (const auto& entry : std::filesystem::directory_iterator(path))
      has_weights |= entry.path().extension() == ".safetensors";
    if (!has_weights) continue;
    const auto checkpoint = Checkpoint::open(path);
    EXPECT_FALSE(checkpoint->names().empty()) << path;
    EXPECT_TRUE(inspect_values(*checkpoint).finite()) << path;
  }
}

}  // namespace
}  // namespace espalier
