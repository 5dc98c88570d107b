// Readers of pictures and of data sets of pictures under any bytes, see targets.h.
#pragma once

#include "espalier/io/image_dataset.h"
#include "espalier/io/images/decode.h"
#include "espalier/io/images/gunzip.h"
#include "tests/fuzz/files_fuzz.h"

namespace espalier::fuzz {

inline void check_picture(const Picture& picture) {
  ESP_ASSERT(picture.height > 0 && picture.width > 0 && (picture.channels == 1 || picture.channels == 3));
  ESP_ASSERT(picture.height * picture.width <= kMaxPixels);
  ESP_ASSERT(picture.pixels.size() == static_cast<size_t>(picture.height * picture.width * picture.channels));
}

inline bool fuzz_picture(const uint8_t* data, size_t size) {
  return accepts([&] {
    const auto file = std::as_bytes(std::span(data, size));
    const Picture picture = decode_picture(file, "fuzz");
    check_picture(picture);
    ESP_ASSERT(decode_picture(file, "fuzz").pixels == picture.pixels, "not the same twice");
  });
}

// The first byte says which: a .bin file of CIFAR, IDX images beside good labels, IDX labels beside good images, a
// list.
inline bool fuzz_image_dataset(const uint8_t* data, size_t size) {
  if (size == 0) return false;
  const std::string_view bytes = text_of(data + 1, size - 1);
  static const std::string images(
      "\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x02"
      "abcd",
      20),
      labels("\0\0\x08\x01\0\0\0\x02\x01\x05", 10);
  return accepts([&] {
    std::filesystem::path path;
    switch (data[0] % 4) {
      case 0:
        path = scratch_file("cifar/data.bin", bytes);
        break;
      case 1:
        path = scratch_file("idx/a-images-idx3-ubyte", bytes);
        scratch_file("idx/a-labels-idx1-ubyte", labels);
        break;
      case 2:
        path = scratch_file("idx/a-images-idx3-ubyte", images);
        scratch_file("idx/a-labels-idx1-ubyte", bytes);
        break;
      default:
        scratch_file("list/a.png", "no picture");
        path = scratch_file("list/labels.tsv", bytes).parent_path();
    }
    const auto dataset = ImageDataset::open(path);
    ESP_ASSERT(dataset->size() > 0);
    for (int64_t i = 0; i < std::min<int64_t>(dataset->size(), 4); ++i) {
      ESP_ASSERT(dataset->label(i) >= 0 && dataset->label(i) < dataset->classes());
      accepts([&] { check_picture(dataset->picture(i)); });
    }
  });
}

inline bool fuzz_gunzip(const uint8_t* data, size_t size) {
  return accepts([&] {
    const auto file = std::as_bytes(std::span(data, size));
    const auto all = gunzip(file, 1 << 14, "fuzz"), some = gunzip(file, 7, "fuzz");
    ESP_ASSERT(some.size() == std::min<size_t>(7, all.size()) && std::equal(some.begin(), some.end(), all.begin()));
  });
}

}  // namespace espalier::fuzz
