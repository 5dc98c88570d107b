#include "espalier/families/rotary_decoder.h"

#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

int64_t read_head_size(const Json& config, const std::string& where, int64_t hidden, int64_t heads, int64_t absent) {
  if (absent > 0 && !config.contains("head_dim")) return absent;
  const int64_t size = json_int_or(config, "head_dim", where, 2, 1 << 16, derived_head_size(hidden, heads));
  if (size == 0)
    throw UserError(where, "num_attention_heads", fmt::format("a divisor of hidden_size {}", hidden),
                    fmt::format("{}", heads));
  return size;
}

}  // namespace

RotaryDecoderFacts read_rotary_decoder(const Json& config, const Checkpoint& checkpoint, const std::string& where,
                                       const RotaryDecoderDefaults& defaults) {
  RotaryDecoderFacts facts{};
  facts.hidden = json_int(config, "hidden_size", where, 1, 1 << 20);
  facts.vocab = json_int(config, "vocab_size", where, 1, 1 << 28);
  LayerPlan& uniform = facts.uniform;
  uniform.heads = json_int(config, "num_attention_heads", where, 1, 1 << 16);
  uniform.kv_heads = json_int_or(config, "num_key_value_heads", where, 1, uniform.heads, uniform.heads);
  uniform.ffn = json_int(config, "intermediate_size", where, 1, 1 << 26);
  facts.head_size = read_head_size(config, where, facts.hidden, uniform.heads, defaults.head_size);
  uniform.head_size = facts.head_size;
  facts.context = json_int_or(config, "max_position_embeddings", where, 1, INT32_MAX, 2048);
  facts.epsilon = json_number_or(config, defaults.epsilon_key, where, defaults.epsilon);
  facts.tied = json_bool_or(config, "tie_word_embeddings", where, false);
  facts.activation = activation_kind(json_string_or(config, "hidden_act", where, defaults.activation), where);
  facts.layers = layer_count(config, "num_hidden_layers", checkpoint, kRotaryDecoderBlock, where);
  return facts;
}

ValueId rotary_attention(GraphBuilder& b, const std::string& at, ValueId q, ValueId k, ValueId v,
                         const RotaryDecoderFacts& facts, int64_t window) {
  q = b.rotary(at + "q_rotary", q, facts.head_size, facts.rotary.inverse_frequency, facts.rotary.scale);
  k = b.rotary(at + "k_rotary", k, facts.head_size, facts.rotary.inverse_frequency, facts.rotary.scale);
  const double scale = 1 / std::sqrt(static_cast<double>(facts.head_size));
  return b.attention(at + "attention", q, k, v, facts.head_size, scale, window);
}

bool is_ignored_by_rotary_decoder(const std::string& tensor) {
  return tensor.ends_with("rotary_emb.inv_freq") || tensor == "lm_head.weight";
}

void write_rotary_decoder_widths(Json& config, const Graph& graph) {
  const int64_t hidden = graph.parameter("model.embed_tokens.weight").shape().at(1);
  write_widths(config, graph,
               {"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
                "hidden_size"},
               hidden);
}

}  // namespace espalier
