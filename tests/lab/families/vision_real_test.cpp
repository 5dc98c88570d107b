// Published vision models name pictures as often as their authors and others measured.
#include <gtest/gtest.h>

#include "espalier/families/family.h"
#include "espalier/lab/measure/accuracy.h"
#include "tests/support.h"

namespace espalier {
namespace {

double top1(const Model& model, const std::filesystem::path& data, int64_t count) {
  const auto pictures = ImageDataset::open(data);
  return measure_accuracy(model.graph, *pictures, model.image, count).top1.value;
}

struct Published {
  const char *name, *model, *data;
  int64_t count;
  double low, high;
};

class PublishedAccuracy : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedAccuracy, IsReached) {
  const Published& published = GetParam();
  ESP_NEED_SHARED(model, std::string("data/") + published.model);
  ESP_NEED_SHARED(data, std::string("data/") + published.data);
  const double found = top1(load_model(model), data, published.count);
  EXPECT_GE(found, published.low);
  EXPECT_LE(found, published.high);
}

INSTANTIATE_TEST_SUITE_P(Models, PublishedAccuracy,
                         ::testing::Values(Published{"ResNet20", "cifar10-resnets/resnet20-12fca82f.safetensors",
                                                     "cifar10/train_lossless_4000.bin", 1000, 0.99, 1},
                                           Published{"ResNet20Wrapped", "cifar10-resnets/resnet20-12fca82f.th",
                                                     "cifar10/test_jpeg_5000.bin", 1000, 0.77, 0.83},
                                           Published{"ResNet32", "cifar10-resnets/resnet32-d509ac18.safetensors",
                                                     "cifar10/train_lossless_4000.bin", 500, 0.99, 1},
                                           Published{"ResNet44", "cifar10-resnets/resnet44-014dd654.safetensors",
                                                     "cifar10/train_lossless_4000.bin", 500, 0.99, 1},
                                           Published{"ResNet56", "cifar10-resnets/resnet56-4bfd9763.safetensors",
                                                     "cifar10/train_lossless_4000.bin", 500, 0.99, 1},
                                           Published{"Vit4L64", "vit-cifar10-4L64/vit_model.safetensors",
                                                     "cifar10/train_lossless_4000.bin", 1000, 0.93, 0.97},
                                           Published{"Vit6L128", "vit-cifar10-6L128/vit_cifar10.safetensors",
                                                     "cifar10/train_lossless_4000.bin", 1000, 0.75, 0.81},
                                           Published{"VitMnist", "vit-mnist/vit_mnist.pth",
                                                     "mnist/t10k-images-idx3-ubyte.gz", 1000, 0.95, 0.985},
                                           Published{"SqueezeNet", "squeezenet1.1-imagenet", "imagenet-samples-200", 0,
                                                     0.63, 0.67},
                                           Published{"ResNet4", "vit-cifar10-4L64/resnet4_model.safetensors",
                                                     "cifar10/train_lossless_4000.bin", 1000, 0.6, 1}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace espalier
