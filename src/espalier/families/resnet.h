// ResNets (He et al., 2016) under the names of four public code bases, which also differ in stem and shortcut:
//   resnet              Hugging Face: embedding_size, hidden_sizes, depths, layer_type, downsample_in_first_stage
//   resnet-torchvision  layers, block ("basic", "bottleneck"), widths of the stages before expansion, groups,
//                       width_per_group (wide and ResNeXt forms): conv1, bn1, layer1.0.conv1 …, downsample.0, fc
//   resnet-cifar        layers, block, widths, shortcut ("A": every second position, zero channels on both sides; "B":
//                       convolution): conv1, bn1, layer1.0.conv1 …, shortcut.0, linear. depth: 6 n + 2 in short for
//                       three basic stages of n
//   resnet-plain        one block a stage, layer1.layers.0 … .4, shortcut.0, out_head; no ReLU after the sums
// All take num_channels, image_size and num_classes. Widths of loaded models are those of the tensors.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/families/vision_config.h"
#include "espalier/families/vision_weights.h"

namespace espalier {

struct ResNetNames {
  std::string stem_conv, stem_norm, head;
  std::string block;  // "layer{stage}.{block}.", stages counted from first_stage
  int64_t first_stage = 1;
  std::vector<std::string> convs, norms;
  std::string shortcut_conv, shortcut_norm;

  std::string stage_pattern(size_t stage) const;                // "layer1.{}.", or "layer1." when it has one block
  std::string block_prefix(size_t stage, int64_t block) const;  // "layer1.0."
};

struct ResNetFacts {
  const ResNetNames* names = nullptr;
  PictureShape picture;
  int64_t stem_width = 0, classes = 0, groups = 1;
  bool imagenet_stem = true, bottleneck = false;
  bool sliced_shortcut = false;  // option A
  bool relu_after_sum = true;
  std::vector<int64_t> depths, inner, outer, strides;  // of each stage; inner, outer: widths in a block, of the stream
};

ResNetFacts read_resnet_facts(const Json& config, const std::string& where);
std::optional<Json> recognise_resnet(const Checkpoint& checkpoint);

}  // namespace espalier
