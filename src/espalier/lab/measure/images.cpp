#include "espalier/lab/measure/images.h"

#include <array>

#include "espalier/core/error.h"
#include "espalier/core/thread_pool.h"
#include "espalier/io/images/transform.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

void check_input(const ImageInput& input) {
  if (input.channels != 1 && input.channels != 3)
    throw UserError("model input", "channels", "1 (grey) or 3 (colours)", fmt::format("{}", input.channels));
  if (input.resize_short > 0 && input.resize_short < std::max(input.height, input.width))
    throw UserError("model input", "shorter side before the crop",
                    fmt::format("at least {}", std::max(input.height, input.width)),
                    fmt::format("{}", input.resize_short));
  for (const auto* list : {&input.mean, &input.std})
    if (!list->empty() && list->size() != static_cast<size_t>(input.channels))
      throw UserError("model input", "mean and std", fmt::format("{} numbers, one a channel", input.channels),
                      fmt::format("{}", list->size()));
}

Picture prepared(Picture picture, const ImageInput& input) {
  picture = with_channels(std::move(picture), input.channels);
  const bool fixed = input.height > 0 && input.width > 0;
  if (input.resize_short > 0) {
    picture = resize_shorter_side(picture, input.resize_short);
    return fixed ? centre_crop(picture, input.height, input.width) : picture;
  }
  return fixed ? resize(picture, input.height, input.width) : picture;
}

void write_planes(const Picture& picture, bool bgr, uint8_t* to) {
  const int64_t count = picture.height * picture.width, channels = picture.channels;
  for (int64_t c = 0; c < channels; ++c) {
    const uint8_t* from = picture.pixels.data() + (bgr ? channels - 1 - c : c);
    for (int64_t i = 0; i < count; ++i) *to++ = from[i * channels];
  }
}

// The 256 values that a channel's bytes become.
std::array<float, 256> table_of(const ImageInput& input, size_t channel) {
  std::array<float, 256> table;
  const float mean = input.mean.empty() ? 0 : static_cast<float>(input.mean[channel]);
  const float deviation = input.std.empty() ? 1 : static_cast<float>(input.std[channel]);
  for (size_t x = 0; x < table.size(); ++x)
    table[x] = (static_cast<float>(x) / static_cast<float>(input.divisor) - mean) / deviation;
  return table;
}

}  // namespace

at::Tensor image_bytes(const ImageDataset& dataset, std::span<const int64_t> indices, const ImageInput& input) {
  check_input(input);
  ESP_ASSERT(!indices.empty());
  const Picture first = prepared(dataset.picture(indices[0]), input);
  at::Tensor bytes =
      at::empty({static_cast<int64_t>(indices.size()), first.channels, first.height, first.width}, at::kByte);
  auto* to = bytes.data_ptr<uint8_t>();
  const int64_t size = bytes.stride(0);
  parallel_for(0, bytes.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Picture picture = i == 0 ? first : prepared(dataset.picture(indices[static_cast<size_t>(i)]), input);
      if (picture.height != first.height || picture.width != first.width)
        throw UserError(dataset.path().string(), "pictures for a model without a fixed input size",
                        fmt::format("all {}x{}", first.width, first.height),
                        fmt::format("{}x{}", picture.width, picture.height));
      write_planes(picture, input.bgr, to + i * size);
    }
  });
  return bytes;
}

at::Tensor normalised(const at::Tensor& bytes, const ImageInput& input) {
  check_input(input);
  ESP_ASSERT(bytes.dim() == 4 && bytes.size(1) == input.channels && bytes.is_contiguous() &&
             bytes.scalar_type() == at::kByte);
  at::Tensor pixels = at::empty(bytes.sizes(), at::kFloat);
  const auto* from = bytes.data_ptr<uint8_t>();
  auto* to = pixels.data_ptr<float>();
  const int64_t channels = bytes.size(1), plane = bytes.size(2) * bytes.size(3);
  std::vector<std::array<float, 256>> tables;
  for (int64_t c = 0; c < channels; ++c) tables.push_back(table_of(input, static_cast<size_t>(c)));
  parallel_for(0, bytes.size(0) * channels, 16, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const auto& table = tables[static_cast<size_t>(p % channels)];
      for (int64_t i = p * plane; i < (p + 1) * plane; ++i) to[i] = table[from[i]];
    }
  });
  return pixels;
}

at::Tensor image_labels(const ImageDataset& dataset, std::span<const int64_t> indices) {
  at::Tensor labels = at::empty({static_cast<int64_t>(indices.size())}, at::kLong);
  auto* to = labels.data_ptr<int64_t>();
  for (int64_t index : indices) *to++ = dataset.label(index);
  return labels;
}

LabelledImages image_batch(const ImageDataset& dataset, std::span<const int64_t> indices, const ImageInput& input) {
  return {normalised(image_bytes(dataset, indices, input), input), image_labels(dataset, indices)};
}

}  // namespace espalier
