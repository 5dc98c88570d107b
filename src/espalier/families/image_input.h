// How a picture becomes a model's input.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/core/tensor.h"

namespace espalier {

// A picture's values x in [0, 255] become (x / divisor - mean) / std, channel by channel, in planes [c, h, w].
struct ImageInput {
  int64_t channels = 3, height = 0, width = 0;
  std::vector<double> mean, std;  // one a channel; empty: 0 and 1
  double divisor = 255;
  bool bgr = false;          // channels in the order blue, green, red
  int64_t resize_short = 0;  // the shorter side first becomes this, then the centre is cut out; 0: straight to height × width
};

// For a model whose input is `shape` [n, c, h, w]. What says how, in this order: preprocessor_config.json (Hugging
// Face's) in `directory`; "espalier_image" of the config ({"mean", "std", "divisor", "bgr", "resize"}, as a family states
// it); else ImageNet's mean and deviation for three channels, values in [0, 1] for other numbers. UserError naming file
// and field.
ImageInput image_input(const std::filesystem::path& directory, const Json& config, const Shape& shape);

}  // namespace espalier
