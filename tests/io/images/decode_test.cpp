// JPEG and PNG against what Pillow reads from the same files (tests/io/data/make_image_fixtures.py).
#include "espalier/io/images/decode.h"

#include <gtest/gtest.h>

#include "espalier/core/json.h"
#include "espalier/io/images/transform.h"
#include "tests/io/images/image_files.h"

namespace espalier {
namespace {

Picture decode(const std::string& bytes) { return decode_picture(std::as_bytes(std::span(bytes)), "x.img"); }

Json expected(const char* group) { return read_json(test::image_fixtures() / "expected.json").at(group); }

int largest_difference(const Picture& picture, const Json& wanted) {
  EXPECT_EQ((std::vector<int64_t>{picture.height, picture.width, picture.channels}),
            wanted.at("shape").get<std::vector<int64_t>>());
  const auto pixels = wanted.at("pixels").get<std::vector<int>>();
  EXPECT_EQ(picture.pixels.size(), pixels.size());
  int most = 0;
  for (size_t i = 0; i < pixels.size() && i < picture.pixels.size(); ++i)
    most = std::max(most, std::abs(pixels[i] - picture.pixels[i]));
  return most;
}

TEST(DecodePicture, EveryFormAsPillowReadsIt) {
  const Json files = expected("decoded");
  EXPECT_EQ(files.size(), 14u);
  for (const auto& [name, wanted] : files.items()) {
    const int tolerance = name == "cmyk.jpg" ? 2 : 0;  // the fourth ink is not quite 0 after compression
    EXPECT_LE(largest_difference(read_picture(test::image_fixtures() / name), wanted), tolerance) << name;
  }
}

TEST(DecodePicture, CmykWithoutAdobesMarkerIsNotInverted) {
  std::string bytes = test::image_fixture("cmyk.jpg");
  const Picture inverted = decode(bytes);
  const size_t marker = bytes.find("Adobe");
  ASSERT_NE(marker, std::string::npos);
  bytes.replace(marker, 5, "Bdobe");
  const Picture plain = decode(bytes);
  // All the same ink values now mean the opposite; the fourth, stored as 255, is black.
  EXPECT_EQ(*std::max_element(plain.pixels.begin(), plain.pixels.end()) < 8, true);
  EXPECT_GT(*std::max_element(inverted.pixels.begin(), inverted.pixels.end()), 200);
}

TEST(DecodePicture, EveryTruncationIsAnErrorNamingTheFile) {
  for (const char* name : {"colour.jpg", "progressive.jpg", "cmyk.jpg", "grey.png", "interlaced.png", "palette.png"}) {
    const std::string whole = test::image_fixture(name);
    for (size_t length = 0; length < whole.size(); ++length) {
      try {
        decode(whole.substr(0, length));
        ADD_FAILURE() << name << " cut to " << length;
      } catch (const UserError& error) {
        EXPECT_TRUE(std::string(error.what()).starts_with("x.img: ")) << error.what();
      }
    }
  }
}

TEST(DecodePicture, HugeHeadersAreRefusedBeforeAllocation) {
  std::string png = test::image_fixture("colour.png");
  png.replace(16, 8, test::big_endian(65535) + test::big_endian(65535));
  ESP_EXPECT_USER_ERROR(decode(png), "x.img: ");  // the checksum of the header
  // A JPEG's header has no checksum: its frame header SOF0 is FF C0, length, precision, height, width.
  std::string jpeg = test::image_fixture("colour.jpg");
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  std::string huge = jpeg;
  huge.replace(frame + 5, 4, "\xff\xff\xff\xff");
  ESP_EXPECT_USER_ERROR(decode(huge), "x.img: JPEG: Maximum supported image dimension is 65500 pixels");
  huge.replace(frame + 5, 4, "\xfe\xfe\xfe\xfe");
  ESP_EXPECT_USER_ERROR(decode(huge), "expected at most 100000000 pixels, found 65278x65278");
  std::string large = jpeg;
  large.replace(frame + 5, 4, std::string("\x20\x00\x20\x00", 4));
  ESP_EXPECT_USER_ERROR(decode(large), "pixels that a file of this size can hold, found 8192x8192");
}

TEST(DecodePicture, OtherBytesAreRefused) {
  ESP_EXPECT_USER_ERROR(decode(""), "x.img: picture: expected a JPEG or PNG file, found 0 other bytes");
  ESP_EXPECT_USER_ERROR(decode("GIF89a"), "expected a JPEG or PNG file");
  ESP_EXPECT_USER_ERROR(read_picture("/nonexistent/a.png"), "/nonexistent/a.png");
}

TEST(DecodePicture, DamagedDataIsAnError) {
  std::string png = test::image_fixture("colour.png");
  png[png.find("IDAT") + 12] ^= 0x40;
  ESP_EXPECT_USER_ERROR(decode(png), "x.img: PNG: ");
}

TEST(DecodePicture, NamesOfPictures) {
  for (const char* name : {"a.jpg", "b.JPEG", "c.Png", "d/e.JPG"}) EXPECT_TRUE(is_picture_name(name)) << name;
  for (const char* name : {"a.gif", "jpg", "b.jpg.txt", ""}) EXPECT_FALSE(is_picture_name(name)) << name;
}

TEST(TransformPicture, ResizesAsPillowDoes) {
  const Picture picture = decode(test::image_fixture("colour.png"));
  const Json wanted = expected("from colour.png");
  for (const char* name : {"smaller", "larger", "wider", "taller"}) {
    const auto& shape = wanted.at(name).at("shape");
    EXPECT_EQ(largest_difference(resize(picture, shape[0].get<int64_t>(), shape[1].get<int64_t>()), wanted.at(name)), 0)
        << name;
  }
  EXPECT_EQ(largest_difference(with_channels(picture, 1), wanted.at("luma")), 0);
}

TEST(TransformPicture, ShorterSideKeepsTheProportion) {
  const Picture wide = resize_shorter_side(Picture{10, 15, 1, std::vector<uint8_t>(150, 9)}, 7);
  EXPECT_EQ(wide.height, 7);
  EXPECT_EQ(wide.width, 10);
  const Picture tall = resize_shorter_side(Picture{15, 10, 1, std::vector<uint8_t>(150, 9)}, 20);
  EXPECT_EQ(tall.height, 30);
  EXPECT_EQ(tall.width, 20);
  EXPECT_EQ(tall.pixels, std::vector<uint8_t>(600, 9));  // a constant stays one
  ESP_EXPECT_USER_ERROR(resize_shorter_side(Picture{1, 1 << 20, 1, std::vector<uint8_t>(1 << 20)}, 1 << 10),
                        "at most 100000000 pixels");
}

TEST(TransformPicture, CropsFromTheMiddleWithTiesToEven) {
  Picture picture{5, 8, 1, {}};
  for (uint8_t i = 0; i < 40; ++i) picture.pixels.push_back(i);
  // Offsets 1.5 → 2 and 2.5 → 2, as Python rounds.
  EXPECT_EQ(centre_crop(picture, 2, 3).pixels, (std::vector<uint8_t>{18, 19, 20, 26, 27, 28}));
  EXPECT_EQ(centre_crop(picture, 5, 8).pixels, picture.pixels);
}

TEST(TransformPicture, GreyBecomesThreeEqualChannels) {
  EXPECT_EQ(with_channels(Picture{1, 2, 1, {7, 200}}, 3).pixels, (std::vector<uint8_t>{7, 7, 7, 200, 200, 200}));
}

}  // namespace
}  // namespace espalier
