#include "espalier/families/image_input.h"

#include "espalier/core/file.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

const Shape kInput{1, 3, 224, 192};

ImageInput with_preprocessor(const std::string& text, const Json& config = Json::object()) {
  TempDir dir;
  write_file_atomically(dir / "preprocessor_config.json", text);
  return image_input(dir.path(), config, kInput);
}

TEST(ImageInput, WithoutAnyFactsColoursAreImageNets) {
  TempDir dir;
  const ImageInput input = image_input(dir.path(), Json::object(), kInput);
  EXPECT_EQ(input.height, 224);
  EXPECT_EQ(input.width, 192);
  EXPECT_EQ(input.mean, (std::vector<double>{0.485, 0.456, 0.406}));
  EXPECT_EQ(input.divisor, 255);
  const ImageInput grey = image_input(dir.path(), Json::object(), {1, 1, 28, 28});
  EXPECT_TRUE(grey.mean.empty());
  EXPECT_EQ(grey.channels, 1);
}

TEST(ImageInput, HuggingFacesPreprocessorIsRead) {
  const ImageInput input = with_preprocessor(
      R"({"do_resize": true, "size": {"shortest_edge": 256}, "do_normalize": true, "image_mean": [0.5, 0.25, 0.125], "image_std": 0.5, "rescale_factor": 0.00392156862745098})");
  EXPECT_EQ(input.resize_short, 256);
  EXPECT_EQ(input.mean, (std::vector<double>{0.5, 0.25, 0.125}));
  EXPECT_EQ(input.std, (std::vector<double>{0.5, 0.5, 0.5}));
  EXPECT_NEAR(input.divisor, 255, 1e-9);
  EXPECT_EQ(with_preprocessor(R"({"size": 248})").resize_short, 248);
  EXPECT_EQ(with_preprocessor(R"({"size": {"height": 224, "width": 192}})").resize_short, 0);
  EXPECT_TRUE(with_preprocessor(R"({"do_normalize": false, "image_mean": [1, 1, 1]})").mean.empty());
  EXPECT_EQ(with_preprocessor(R"({"do_rescale": false})").divisor, 1);
}

TEST(ImageInput, TheFileBesideTheModelBeatsTheFamilysFacts) {
  const Json config = {{"espalier_image", {{"mean", 0.1}, {"std", 0.2}, {"bgr", true}}}};
  EXPECT_EQ(with_preprocessor(R"({"image_mean": 0.5})", config).mean.front(), 0.5);
  TempDir dir;
  const ImageInput facts = image_input(dir.path(), config, kInput);
  EXPECT_EQ(facts.mean, (std::vector<double>{0.1, 0.1, 0.1}));
  EXPECT_TRUE(facts.bgr);
}

TEST(ImageInput, WrongFieldsAreNamed) {
  ESP_EXPECT_USER_ERROR(with_preprocessor(R"({"image_mean": [0.5, 0.5]})"), "image_mean");
  ESP_EXPECT_USER_ERROR(with_preprocessor(R"({"image_mean": [0.5, "x", 0.5]})"), "image_mean");
  ESP_EXPECT_USER_ERROR(with_preprocessor(R"({"image_std": [0.5, 0, 0.5]})"), "image_std");
  ESP_EXPECT_USER_ERROR(with_preprocessor(R"({"rescale_factor": 0})"), "rescale_factor");
  ESP_EXPECT_USER_ERROR(with_preprocessor(R"({"size": "large"})"), "size");
  ESP_EXPECT_USER_ERROR(with_preprocessor("[]"), "preprocessor_config.json");
}

}  // namespace
}  // namespace espalier::test
