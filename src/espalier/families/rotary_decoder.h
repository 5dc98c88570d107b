// What Llama-like models and Phi have in common: the names of configuration keys and of blocks, the widths, and
// attention over rotated heads.
#pragma once

#include <string>

#include "espalier/core/json.h"
#include "espalier/families/builder.h"
#include "espalier/families/layer_plan.h"
#include "espalier/families/rotary.h"

namespace espalier {

inline constexpr const char* kRotaryDecoderBlock = "model.layers.{}.";

struct RotaryDecoderFacts {
  int64_t hidden, vocab, layers, head_size, context;
  LayerPlan uniform;
  double epsilon;
  bool tied;
  std::string activation;
  RotaryPlan rotary;  // the family's to fill: how much of a head rotates differs
};

// What the absence of a key means, and the name of the norms' epsilon.
struct RotaryDecoderDefaults {
  std::string epsilon_key;
  double epsilon;
  std::string activation;
  int64_t head_size = 0;  // 0: hidden / heads
};

// All but `rotary`. UserError naming the key, what was expected and found.
RotaryDecoderFacts read_rotary_decoder(const Json& config, const Checkpoint& checkpoint, const std::string& where,
                                       const RotaryDecoderDefaults& defaults);

// softmax(q kᵀ / sqrt(head size)) v of rotated q and k; window 0: none. Nodes are named at + "q_rotary" and so on.
ValueId rotary_attention(GraphBuilder& b, const std::string& at, ValueId q, ValueId k, ValueId v,
                         const RotaryDecoderFacts& facts, int64_t window);

// Frequencies that old checkpoints hold as buffers, and the second name of a tied head.
bool is_ignored_by_rotary_decoder(const std::string& tensor);

void write_rotary_decoder_widths(Json& config, const Graph& graph);

}  // namespace espalier
