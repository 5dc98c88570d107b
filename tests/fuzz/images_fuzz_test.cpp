// Pictures and data sets of pictures under damage: read or refused, never a crash, and never half a picture unnoticed.
#include "tests/fuzz/images_fuzz.h"

#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "tests/fuzz/runner.h"

namespace espalier::fuzz {
namespace {

std::string picture_fixture(const std::string& name) {
  return read_file(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/images" / name, 1u << 20);
}

std::vector<std::string> fixtures(const std::vector<std::string>& names) {
  std::vector<std::string> seeds;
  for (const auto& name : names) seeds.push_back(picture_fixture(name));
  return seeds;
}

TEST(ImagesFuzz, Jpeg) {
  fuzz(fuzz_picture, fixtures({"grey.jpg", "colour.jpg", "subsampled.jpg", "progressive.jpg", "cmyk.jpg"}), 20'000);
}

// Checksums stop nearly every damage, so that few damaged files are accepted: those beyond the last chunk that is read.
TEST(ImagesFuzz, Png) {
  const auto seeds = fixtures({"grey.png", "palette.png", "alpha.png", "colour16.png", "interlaced.png", "bits.png"});
  fuzz(fuzz_picture, seeds, 20'000);
}

TEST(ImagesFuzz, Datasets) {
  const std::string cifar = std::string("\0", 1) + "\x05" + std::string(3072, 'p');
  const std::string idx(
      "\x01\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x02"
      "abcd",
      21),
      labels("\x02\0\0\x08\x01\0\0\0\x02\x01\x05", 11);
  fuzz(fuzz_image_dataset,
       {cifar, idx, labels,
        "\x03"
        "file\tclass\na.png\t4\n"},
       4'000);
}

TEST(ImagesFuzz, Gunzip) {
  fuzz(fuzz_gunzip, fixtures({"tiny-images-idx3-ubyte.gz", "bomb-images-idx3-ubyte.gz"}), 20'000);
}

}  // namespace
}  // namespace espalier::fuzz
