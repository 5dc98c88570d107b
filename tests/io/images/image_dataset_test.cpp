#include "espalier/io/image_dataset.h"

#include <gtest/gtest.h>

#include "tests/io/images/image_files.h"

namespace espalier {
namespace {

using test::cifar_record;
using test::idx;
using test::write;

constexpr uint32_t kImages = 0x803, kLabels = 0x801;

TEST(Cifar, OneFileOfTenClasses) {
  test::TempDir dir;
  write(dir / "a.bin", cifar_record("\x03", 10) + cifar_record("\x09", 20));
  write(dir / "batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
  const auto data = ImageDataset::open(dir / "a.bin");
  ASSERT_EQ(data->size(), 2);
  EXPECT_EQ(data->classes(), 10);
  EXPECT_EQ(data->label(0), 3);
  EXPECT_EQ(data->label(1), 9);
  EXPECT_EQ(data->class_names().at(9), "j");
  const Picture picture = data->picture(1);
  EXPECT_EQ(picture.height, 32);
  EXPECT_EQ(picture.channels, 3);
  EXPECT_EQ((std::vector<uint8_t>{picture.pixels.begin(), picture.pixels.begin() + 6}),
            (std::vector<uint8_t>{255, 21, 22, 20, 21, 22}));
}

TEST(Cifar, AFolderOfFilesInTheOrderOfTheirNames) {
  test::TempDir dir;
  write(dir / "two.bin", cifar_record("\x02", 2));
  write(dir / "one.bin", cifar_record(std::string(1, '\0'), 0) + cifar_record("\x01", 1));
  write(dir / "readme.txt", "no data");
  const auto data = ImageDataset::open(dir.path());
  ASSERT_EQ(data->size(), 3);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(data->label(i), i);
    EXPECT_EQ(data->picture(i).pixels[3], i);
  }
  EXPECT_TRUE(data->class_names().empty());
  EXPECT_EQ(data->files(2).size(), 1u);
  EXPECT_EQ(data->files(3).size(), 2u);
  EXPECT_TRUE(is_image_data(dir.path()));
}

TEST(Cifar, AHundredClassesByTheFineLabel) {
  test::TempDir dir;
  write(dir / "train.bin", cifar_record("\x05\x63", 7));
  const auto data = ImageDataset::open(dir / "train.bin");
  EXPECT_EQ(data->classes(), 100);
  EXPECT_EQ(data->label(0), 99);
  EXPECT_EQ(data->picture(0).pixels[4], 8);
}

TEST(Cifar, WrongSizesAndLabels) {
  test::TempDir dir;
  write(dir / "short.bin", cifar_record("\x01", 1).substr(1));
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir / "short.bin"), "short.bin: labelled pictures: expected");
  write(dir / "d/good.bin", cifar_record("\x01", 1));
  write(dir / "d/long.bin", cifar_record("\x01", 1) + "1234");
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir / "d"), "long.bin: size: expected a multiple of 3073");
  write(dir / "e/good.bin", cifar_record("\x01", 1));
  write(dir / "e/hundred.bin", cifar_record("\x01\x02", 1));
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir / "e"), "expected all CIFAR-10 or all CIFAR-100, found some of each");
  write(dir / "label.bin", cifar_record("\x01", 1) + cifar_record("\x0a", 1));
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir / "label.bin"),
                        "label.bin: CIFAR-10 label of picture 1: expected 0 to 9, found 10");
  write(dir / "f/good.bin", cifar_record("\x01", 1));
  write(dir / "f/empty.bin", "");
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir / "f"), "empty.bin");
}

TEST(Idx, PairOfPlainFiles) {
  test::TempDir dir;
  write(dir / "t10k-images-idx3-ubyte", idx(kImages, {2, 2, 3}, "abcdefghijkl"));
  write(dir / "t10k-labels-idx1-ubyte", idx(kLabels, {2}, std::string("\x07\x00", 2)));
  for (const auto& path : {dir.path(), dir / "t10k-images-idx3-ubyte", dir / "t10k"}) {
    const auto data = ImageDataset::open(path);
    ASSERT_EQ(data->size(), 2) << path;
    EXPECT_EQ(data->classes(), 8);
    EXPECT_EQ(data->label(0), 7);
    const Picture picture = data->picture(1);
    EXPECT_EQ(picture.height, 2);
    EXPECT_EQ(picture.width, 3);
    EXPECT_EQ(picture.channels, 1);
    EXPECT_EQ(std::string(picture.pixels.begin(), picture.pixels.end()), "ghijkl");
  }
}

TEST(Idx, PackedPair) {
  const auto data = ImageDataset::open(test::image_fixtures() / "tiny-images-idx3-ubyte.gz");
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->label(0), 4);
  EXPECT_EQ(data->picture(2).pixels, (std::vector<uint8_t>{16, 17, 18, 19, 20, 21, 22, 23}));
}

TEST(Idx, DottedNamesAndLabelsPackedOtherwise) {
  test::TempDir dir;
  write(dir / "train-images.idx3-ubyte", idx(kImages, {3, 2, 4}, std::string(24, 'x')));
  std::filesystem::copy(test::image_fixtures() / "tiny-labels-idx1-ubyte.gz", dir / "train-labels.idx1-ubyte.gz");
  EXPECT_EQ(ImageDataset::open(dir.path())->label(2), 2);
}

TEST(Idx, WhatIsHostile) {
  test::TempDir dir;
  const auto refused = [&](const std::string& images, const std::string& labels, const char* fragment) {
    write(dir / "x-images-idx3-ubyte", images);
    write(dir / "x-labels-idx1-ubyte", labels);
    ESP_EXPECT_USER_ERROR(ImageDataset::open(dir.path()), fragment);
  };
  const std::string good = idx(kImages, {1, 2, 2}, "abcd"), one = idx(kLabels, {1}, "\x01");
  refused(idx(0xd03, {1, 2, 2}, "abcd"), one,
          "x-images-idx3-ubyte: magic number: expected 0x00000803 (bytes in 3 dimensions), found 0x00000d03");
  refused(one, one, "expected 16 bytes, found 9");
  refused(idx(kImages, {2, 2, 2}, "abcd"), one, "bytes: expected 24 for [2, 2, 2] values, found 20");
  refused(good + "e", one, "expected 20 for [1, 2, 2] values, found 21");
  refused(idx(kImages, {UINT32_MAX, UINT32_MAX, UINT32_MAX}, ""), one, "dimensions: expected 1 to");
  refused(idx(kImages, {0, 2, 2}, ""), one, "dimensions: expected 1 to");
  refused(good, idx(kLabels, {2}, "ab"), "x-labels-idx1-ubyte: labels: expected 1, one a picture, found 2");
  refused(good, "", "x-labels-idx1-ubyte");
}

TEST(Idx, PackedBombsAndDamage) {
  ESP_EXPECT_USER_ERROR(ImageDataset::open(test::image_fixtures() / "bomb-images-idx3-ubyte.gz"),
                        "expected 40 for [3, 2, 4] values, found more");
  test::TempDir dir;
  const std::string whole = test::image_fixture("tiny-images-idx3-ubyte.gz");
  std::filesystem::copy(test::image_fixtures() / "tiny-labels-idx1-ubyte.gz", dir / "tiny-labels-idx1-ubyte.gz");
  for (size_t length = 2; length < whole.size(); ++length) {
    write(dir / "tiny-images-idx3-ubyte.gz", whole.substr(0, length));
    ESP_EXPECT_USER_ERROR(ImageDataset::open(dir.path()), "tiny-images-idx3-ubyte.gz");
  }
  std::string checksum = whole;
  checksum[checksum.size() - 6] ^= 1;
  write(dir / "tiny-images-idx3-ubyte.gz", checksum);
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir.path()), "gzip: incorrect data check");
}

TEST(Idx, MissingLabelsAndSeveralPairs) {
  test::TempDir dir;
  write(dir / "a-images-idx3-ubyte", idx(kImages, {1, 2, 2}, "abcd"));
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir.path()), "no file of labels beside it; expected a-labels-idx1-ubyte");
  write(dir / "b-images-idx3-ubyte", "");
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir.path()),
                        "2 IDX files of images in this folder; name one of a-images-idx3-ubyte, b-images-idx3-ubyte");
}

TEST(ClassFolders, SortedNamesAreTheLabels) {
  test::TempDir dir;
  const std::string grey = test::image_fixture("grey.png"), colour = test::image_fixture("colour.jpg");
  write(dir / "dog/b.JPG", colour);
  write(dir / "dog/a.png", grey);
  write(dir / "dog/notes.txt", "x");
  write(dir / "cat/c.jpeg", colour);
  write(dir / "empty/readme.md", "x");
  const auto data = ImageDataset::open(dir.path());
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->class_names(), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(data->classes(), 2);
  EXPECT_EQ(data->label(0), 0);
  EXPECT_EQ(data->label(1), 1);
  EXPECT_EQ(data->picture(1).channels, 1);
  EXPECT_EQ(data->picture(2).channels, 3);
  EXPECT_EQ(image_data_sha256(*data, 3).size(), 64u);
  EXPECT_NE(image_data_sha256(*data, 3), image_data_sha256(*data, 2));
}

TEST(LabelsTsv, FilesAndClassIndices) {
  test::TempDir dir;
  write(dir / "a.png", test::image_fixture("grey.png"));
  write(dir / "sub/b.jpg", test::image_fixture("grey.jpg"));
  write(dir / "labels.tsv", "file\tclass\r\nsub/b.jpg\t5\tfive\r\n\na.png\t0");
  const auto data = ImageDataset::open(dir.path());
  ASSERT_EQ(data->size(), 2);
  EXPECT_EQ(data->classes(), 6);
  EXPECT_EQ(data->label(0), 5);
  EXPECT_EQ(data->picture(1).height, 11);
}

TEST(LabelsTsv, WhatIsHostile) {
  test::TempDir dir;
  write(dir / "a.png", test::image_fixture("grey.png"));
  const auto refused = [&](const std::string& list, const char* fragment) {
    write(dir / "labels.tsv", list);
    ESP_EXPECT_USER_ERROR(ImageDataset::open(dir.path()), fragment);
  };
  refused("", "labels.tsv: lines: expected at least one file and its class, found none");
  refused("file\tclass\n", "found none");
  refused("a.png 3\n", "labels.tsv: line 1: fields: expected a file, a tab and a class index");
  refused("a.png\t-1\n", "line 1: class index: expected 0 to");
  refused("a.png\t1\na.png\tx\n", "line 2: class index");
  refused("a.png\t9999999999999999999\n", "class index");
  refused("a.png\t1\na.png\t2\n", "line 2: 'a.png' stands here a second time");
  refused("../a.png\t1\n", "line 1: file: expected a path inside the folder, found '../a.png'");
  refused((dir / "a.png").string() + "\t1\n", "expected a path inside the folder");
  refused(std::string("a.png\0b\t1\n", 10), "expected a path inside the folder");
  refused("missing.png\t1\n", "line 1: no such file: missing.png");
  refused("\xff\t1\n", "not valid UTF-8 at byte 0");
}

TEST(ImageData, TheHashIsOfNamesWithinTheFolderAndContents) {
  test::TempDir one, two;
  for (const auto& dir : {one.path(), two.path()}) {
    write(dir / "set/x-images-idx3-ubyte", idx(kImages, {1, 2, 2}, "abcd"));
    write(dir / "set/x-labels-idx1-ubyte", idx(kLabels, {1}, "\x01"));
  }
  const auto hash = [](const std::filesystem::path& path) { return image_data_sha256(*ImageDataset::open(path), 1); };
  const std::string expected =
      sha256_of(fmt::format("{}  x-images-idx3-ubyte\n{}  x-labels-idx1-ubyte\n",
                            sha256_of(idx(kImages, {1, 2, 2}, "abcd")), sha256_of(idx(kLabels, {1}, "\x01"))));
  EXPECT_EQ(hash(one / "set"), expected);
  EXPECT_EQ(hash(two / "set/"), expected);
  EXPECT_EQ(hash(two / "set/x-images-idx3-ubyte"), expected);
}

TEST(ImageData, OtherPathsAreText) {
  test::TempDir dir;
  write(dir / "a.txt", "text");
  EXPECT_FALSE(is_image_data(dir.path()));
  EXPECT_FALSE(is_image_data(dir / "a.txt"));
  EXPECT_FALSE(is_image_data(dir / "nowhere"));
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir / "nowhere"), "nowhere: no such file or directory");
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir.path()), "found none of these");
  write(dir / "p.png", test::image_fixture("grey.png"));
  EXPECT_TRUE(is_image_data(dir.path()));
  ESP_EXPECT_USER_ERROR(ImageDataset::open(dir.path()), "found pictures without labels");
}

TEST(ImageData, ADamagedPictureIsNamedWhenItIsAskedFor) {
  test::TempDir dir;
  write(dir / "cat/a.png", test::image_fixture("grey.png").substr(0, 60));
  write(dir / "cat/b.png", test::image_fixture("grey.png"));
  const auto data = ImageDataset::open(dir.path());
  EXPECT_EQ(data->picture(1).width, 13);
  ESP_EXPECT_USER_ERROR(data->picture(0), "a.png: PNG: ");
}

}  // namespace
}  // namespace espalier
