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

// What the notes beside the files report of the same pictures; of ResNet-32 to -56 at least 99 % of training pictures.
const Published kPublished[] = {
    {"ResNet20", "cifar10-resnets/resnet20-12fca82f.safetensors", "cifar10/train_lossless_4000.bin", 1000, 0.99, 1},
    {"ResNet20Wrapped", "cifar10-resnets/resnet20-12fca82f.th", "cifar10/test_jpeg_5000.bin", 5000, 0.8010, 0.8018},
    {"ResNet32", "cifar10-resnets/resnet32-d509ac18.safetensors", "cifar10/train_lossless_4000.bin", 500, 0.99, 1},
    {"ResNet44", "cifar10-resnets/resnet44-014dd654.safetensors", "cifar10/train_lossless_4000.bin", 500, 0.99, 1},
    {"ResNet56", "cifar10-resnets/resnet56-4bfd9763.safetensors", "cifar10/train_lossless_4000.bin", 500, 0.99, 1},
    {"Vit4L64", "vit-cifar10-4L64/vit_model.safetensors", "cifar10/train_lossless_4000.bin", 2000, 0.947, 0.949},
    {"Vit6L128", "vit-cifar10-6L128/vit_cifar10.safetensors", "cifar10/train_lossless_4000.bin", 2000, 0.7785, 0.7805},
    {"VitMnist", "vit-mnist/vit_mnist.pth", "mnist/t10k-images-idx3-ubyte.gz", 2000, 0.971, 0.972},
    {"SqueezeNet", "squeezenet1.1-imagenet", "imagenet-samples-200", 0, 0.645, 0.655},
    {"ResNet4", "vit-cifar10-4L64/resnet4_model.safetensors", "cifar10/train_lossless_4000.bin", 1000, 0.97, 1}};

INSTANTIATE_TEST_SUITE_P(Models, PublishedAccuracy, ::testing::ValuesIn(kPublished),
                         [](const auto& model) { return std::string(model.param.name); });

}  // namespace
}  // namespace espalier
