#include "espalier/io/images/transform.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;

// For each output position the first input position that it reads and the weights of it and its successors.
struct Taps {
  struct Row {
    int64_t first;
    std::vector<int32_t> weights;  // in units of 2^-kPrecisionBits
  };
  std::vector<Row> rows;
};

Taps bilinear_taps(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(scale, 1.0);  // half the width of the triangle
  Taps taps;
  for (int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const int64_t last = std::min(from, static_cast<int64_t>(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t j = first; j < last; ++j) {
      const double distance = std::abs((static_cast<double>(j) - centre + 0.5) * (1 / support));
      weights.push_back(std::max(0.0, 1 - distance));
      sum += weights.back();
    }
    Taps::Row row{first, {}};
    for (double weight : weights)
      row.weights.push_back(static_cast<int32_t>(0.5 + weight / sum * (1 << kPrecisionBits)));
    taps.rows.push_back(std::move(row));
  }
  return taps;
}

uint8_t to_byte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

// Along the first of the two inner dimensions of [outer, length, inner].
std::vector<uint8_t> resample(const std::vector<uint8_t>& in, int64_t outer, int64_t length, int64_t inner,
                              int64_t to) {
  const Taps taps = bilinear_taps(length, to);
  std::vector<uint8_t> out(static_cast<size_t>(outer * to * inner));
  std::vector<int32_t> sums(static_cast<size_t>(inner));
  uint8_t* write = out.data();
  for (int64_t o = 0; o < outer; ++o) {
    const uint8_t* plane = in.data() + o * length * inner;
    for (const auto& row : taps.rows) {
      std::fill(sums.begin(), sums.end(), 1 << (kPrecisionBits - 1));
      const uint8_t* read = plane + row.first * inner;
      for (int32_t weight : row.weights)
        for (int32_t& sum : sums) sum += weight * *read++;
      for (int32_t sum : sums) *write++ = to_byte(sum);
    }
  }
  return out;
}

// Python's round(): ties go to the even number.
int64_t half_rounded(int64_t twice) { return twice / 2 + (twice % 4 == 3 ? 1 : 0); }

uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

}  // namespace

Picture with_channels(Picture picture, int64_t channels) {
  ESP_ASSERT((channels == 1 || channels == 3) && (picture.channels == 1 || picture.channels == 3));
  if (picture.channels == channels) return picture;
  Picture result{picture.height, picture.width, channels, {}};
  const size_t count = static_cast<size_t>(picture.height * picture.width);
  result.pixels.reserve(count * static_cast<size_t>(channels));
  for (size_t i = 0; i < count; ++i) {
    if (channels == 1) {
      result.pixels.push_back(luma(&picture.pixels[3 * i]));
    } else {
      result.pixels.insert(result.pixels.end(), 3, picture.pixels[i]);
    }
  }
  return result;
}

Picture resize(const Picture& picture, int64_t height, int64_t width) {
  ESP_ASSERT(height > 0 && width > 0 && picture.height > 0 && picture.width > 0);
  Picture result = picture;
  if (width != picture.width) {
    result.pixels = resample(result.pixels, result.height, result.width, result.channels, width);
    result.width = width;
  }
  if (height != picture.height) {
    result.pixels = resample(result.pixels, 1, result.height, result.width * result.channels, height);
    result.height = height;
  }
  return result;
}

Picture resize_shorter_side(const Picture& picture, int64_t length) {
  const auto other = [&](int64_t longer, int64_t shorter) {
    const auto side =
        static_cast<int64_t>(static_cast<double>(length) * static_cast<double>(longer) / static_cast<double>(shorter));
    if (side > kMaxPixels / length)
      throw UserError("picture", "resized to a shorter side of " + fmt::format("{}", length),
                      fmt::format("at most {} pixels", kMaxPixels),
                      fmt::format("{}x{}", picture.width, picture.height));
    return side;
  };
  if (picture.height <= picture.width) return resize(picture, length, other(picture.width, picture.height));
  return resize(picture, other(picture.height, picture.width), length);
}

Picture centre_crop(const Picture& picture, int64_t height, int64_t width) {
  ESP_ASSERT(height <= picture.height && width <= picture.width);
  const int64_t top = half_rounded(picture.height - height), left = half_rounded(picture.width - width);
  Picture result{height, width, picture.channels, {}};
  result.pixels.reserve(static_cast<size_t>(height * width * picture.channels));
  for (int64_t y = 0; y < height; ++y) {
    const auto begin = picture.pixels.begin() + ((top + y) * picture.width + left) * picture.channels;
    result.pixels.insert(result.pixels.end(), begin, begin + width * picture.channels);
  }
  return result;
}

}  // namespace espalier
