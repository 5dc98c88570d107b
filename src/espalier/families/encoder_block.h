// A block of a transformer encoder, where every token looks at every token: what vision transformers and BERT share.
#pragma once

#include <string>
#include <vector>

#include "espalier/families/layer_plan.h"
#include "espalier/families/vision_builder.h"

namespace espalier {

struct EncoderNames {
  std::string block;                            // "blocks.{}."
  std::string norm1, query, key, value;         // modules within it; empty query: packed
  std::string packed_weight, packed_bias, out;  // tensors; empty packed_bias: none
  std::string norm2, up, down;
  bool norm_first = true;  // else norms follow the sums
};

struct EncoderFacts {
  EncoderNames names;
  int64_t layers = 0;
  std::vector<LayerPlan> plans;  // of each block
  bool planned = false;          // the configuration lists the blocks, so their tensors have to agree
  bool qkv_bias = true;          // of fresh models
  double epsilon = 1e-12;
  std::string activation;  // of graph/ops/activation.cpp
};

// Keys of the configuration that hold the counts.
struct EncoderKeys {
  std::string layers = "num_hidden_layers", heads = "num_attention_heads", ffn = "intermediate_size";
  int64_t default_layers = 12;
};

// Layers, plans, and the facts' names. Without a list of blocks the head size follows from the configuration, the
// number of heads from the query projections, the width of the FFN from its tensors. UserError naming key or tensor.
void read_encoder(EncoderFacts& facts, const Json& config, const EncoderKeys& keys, int64_t hidden,
                  const WeightSource& source);

// x [n, tokens, width] through all blocks; what is built next lies behind the last.
ValueId encoder_blocks(VisionBuilder& b, const EncoderFacts& facts, ValueId x);

}  // namespace espalier
