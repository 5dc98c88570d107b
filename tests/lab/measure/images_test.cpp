// From pictures to a model's input.
#include "espalier/lab/measure/images.h"

#include <gtest/gtest.h>

#include "espalier/core/thread_pool.h"
#include "espalier/lab/torch.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::FormulaPictures;

FormulaPictures two_by_two() {
  return {2, 2, 2, 3, [](int64_t i, int64_t p) { return static_cast<uint8_t>(100 * i + p); }};
}
const std::vector<int64_t> kBoth = {1, 0};

TEST(ImageBatch, PlanesInTheModelsOrderNormalised) {
  ImageInput input{.channels = 3, .height = 2, .width = 2, .divisor = 1, .bgr = true};
  input.mean = {1, 2, 3};
  input.std = {2, 4, 8};
  const LabelledImages images = image_batch(two_by_two(), kBoth, input);
  ASSERT_EQ(images.pixels.sizes(), (at::IntArrayRef{2, 3, 2, 2}));
  EXPECT_TRUE(at::equal(images.labels, at::tensor(std::vector<int64_t>{1, 0})));
  // Picture 0's blue values are 2, 5, 8, 11 and come first.
  EXPECT_TRUE(at::equal(images.pixels[1][0].flatten(), at::tensor({0.5f, 2.0f, 3.5f, 5.0f})));
  EXPECT_TRUE(at::equal(images.pixels[0][2].flatten(), (at::tensor({100.f, 103.f, 106.f, 109.f}) - 3) / 8));
}

TEST(ImageBatch, DefaultsDivideBy255) {
  const ImageInput input{.channels = 3, .height = 2, .width = 2};
  const at::Tensor pixels = image_batch(two_by_two(), kBoth, input).pixels;
  EXPECT_TRUE(at::equal(pixels[1][1].flatten(), at::tensor({1.f, 4.f, 7.f, 10.f}) / 255));
}

TEST(ImageBatch, GreyBecomesColourAndBack) {
  const FormulaPictures grey(1, 1, 2, 1, [](int64_t, int64_t p) { return static_cast<uint8_t>(p * 10); });
  const int64_t zero = 0;
  const at::Tensor colours = image_bytes(grey, {&zero, 1}, {.channels = 3, .height = 2, .width = 2});
  for (int64_t c = 0; c < 3; ++c)
    EXPECT_TRUE(at::equal(colours[0][c].flatten(), at::tensor({0, 10, 20, 30}, at::kByte)));
  EXPECT_EQ(image_bytes(two_by_two(), {&zero, 1}, {.channels = 1, .height = 2, .width = 2}).size(1), 1);
}

TEST(ImageBatch, ResizesThenCropsTheCentre) {
  const FormulaPictures flat(1, 1, 10, 3,
                             [](int64_t, int64_t p) { return static_cast<uint8_t>(p / 3 % 10 < 5 ? 0 : 200); });
  const int64_t zero = 0;
  const at::Tensor cropped =
      image_bytes(flat, {&zero, 1}, {.channels = 3, .height = 4, .width = 6, .resize_short = 20});
  EXPECT_EQ(cropped.sizes(), (at::IntArrayRef{1, 3, 4, 6}));
  EXPECT_EQ(cropped[0][0][0][0].item<int>(), 0);
  EXPECT_EQ(cropped[0][2][3][5].item<int>(), 200);
  EXPECT_EQ(image_bytes(flat, {&zero, 1}, {.channels = 3, .height = 3, .width = 5}).sizes(),
            (at::IntArrayRef{1, 3, 3, 5}));
  EXPECT_EQ(image_bytes(flat, {&zero, 1}, {.channels = 3}).sizes(),
            (at::IntArrayRef{1, 3, 10, 10}));  // a model of any size
}

TEST(ImageBatch, TheNumberOfThreadsDoesNotMatter) {
  const FormulaPictures many(37, 3, 9, 3, [](int64_t i, int64_t p) { return static_cast<uint8_t>(i * 31 + p * 17); });
  std::vector<int64_t> all;
  for (int64_t i = 36; i >= 0; --i) all.push_back(i);
  const ImageInput input{.channels = 3, .height = 7, .width = 7, .resize_short = 8};
  set_thread_count(1);
  const at::Tensor one = image_batch(many, all, input).pixels;
  set_thread_count(5);
  EXPECT_TRUE(at::equal(image_batch(many, all, input).pixels, one));
  set_thread_count(0);
}

// Pictures of 2 x 2 and 3 x 3.
class Mixed : public ImageDataset {
 public:
  Mixed() : ImageDataset("mixed") { classes_ = 1; }
  int64_t size() const override { return 2; }
  int64_t label(int64_t) const override { return 0; }
  Picture picture(int64_t i) const override {
    const int64_t side = 2 + i;
    return {side, side, 1, std::vector<uint8_t>(static_cast<size_t>(side * side))};
  }
  std::vector<std::filesystem::path> files(int64_t) const override { return {}; }
};

TEST(ImageBatch, MistakesAreNamed) {
  ESP_EXPECT_USER_ERROR(image_bytes(two_by_two(), kBoth, {.channels = 4, .height = 2, .width = 2}),
                        "channels: expected 1 (grey) or 3 (colours), found 4");
  ESP_EXPECT_USER_ERROR(image_bytes(two_by_two(), kBoth, {.channels = 3, .height = 9, .width = 2, .resize_short = 8}),
                        "expected at least 9, found 8");
  ImageInput input{.channels = 3, .height = 2, .width = 2};
  input.mean = {1};
  ESP_EXPECT_USER_ERROR(image_bytes(two_by_two(), kBoth, input),
                        "mean and std: expected 3 numbers, one a channel, found 1");
  ESP_EXPECT_USER_ERROR(image_bytes(Mixed(), kBoth, {.channels = 1}),
                        "mixed: pictures for a model without a fixed input size: expected all 3x3, found 2x2");
}

}  // namespace
}  // namespace espalier
