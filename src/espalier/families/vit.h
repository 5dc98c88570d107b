// Vision transformers (Dosovitskiy et al., 2021) and DeiT under the names of public code bases. Configurations have
// Hugging Face's keys: hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, image_size, patch_size,
// num_channels, hidden_act, layer_norm_eps, qkv_bias. Beside them:
//   layout           names that fresh models get (kVitLayouts); loaded ones show theirs
//   attention_scale  of q kᵀ; absent: 1 / sqrt(head size)
// Norm before or after the branches, packed projections, a patch convolution or a Linear layer, a second head: the
// names tell.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "espalier/families/encoder_block.h"
#include "espalier/families/vision_config.h"

namespace espalier {

struct VitLayout {
  std::string name;
  std::string cls, distillation, positions, patch;  // tensors, and the module of the patches
  EncoderNames encoder;
  std::string norm, hidden_head, head, distilled_head;  // norm, hidden_head, distilled_head: may be empty
  bool listed_patches = false;                          // a Linear layer on the elements of a patch, else a convolution
  // For checkpoints without a configuration:
  std::string activation = "gelu";
  double epsilon = 1e-5;
  int64_t head_size = 64;
  double scale_of_width = 0;  // attention scale: the width to this power; 0: 1 / sqrt(head size)
  Json image;                 // how pictures come in there
};

const std::vector<VitLayout>& vit_layouts();

struct VitFacts {
  const VitLayout* layout = nullptr;
  PictureShape picture;
  EncoderFacts encoder;
  int64_t hidden = 0, patch = 0, classes = 0;
  bool distilled = false, two_heads = false;
};

VitFacts read_vit_facts(const Json& config, const WeightSource& source);
std::optional<Json> recognise_vit(const Checkpoint& checkpoint);

}  // namespace espalier
