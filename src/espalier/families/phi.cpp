// Phi 1, 1.5 and 2: attention and MLP read the same norm and are both added to the residual stream. Biases everywhere,
// rotary positions on a part of each head, optional grouped-query attention and QK norm, untied head with bias.
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/family.h"
#include "espalier/families/layer_plan.h"
#include "espalier/families/rotary.h"

namespace espalier {
namespace {

constexpr const char* kBlock = "model.layers.{}.";

struct PhiFacts {
  int64_t hidden, vocab, layers, head_size, context;
  LayerPlan uniform;
  double epsilon;
  bool qk_norm, tied;
  std::string activation;
  RotaryPlan rotary;
};

// Rotated channels of a head: the integer part of the factor's share.
int64_t rotary_size(const Json& config, int64_t head_size, const std::string& where) {
  const auto newer = config.find("rope_parameters");
  const Json& holder =
      newer != config.end() && newer->is_object() && newer->contains("partial_rotary_factor") ? *newer : config;
  const double factor = json_number_or(holder, "partial_rotary_factor", where, 0.5);
  if (!(factor > 0 && factor <= 1))
    throw UserError(where, "partial_rotary_factor", "a number in (0, 1]", fmt::format("{}", factor));
  return static_cast<int64_t>(static_cast<double>(head_size) * factor);
}

PhiFacts read_facts(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  PhiFacts facts{};
  facts.hidden = json_int(config, "hidden_size", where, 1, 1 << 20);
  facts.vocab = json_int(config, "vocab_size", where, 1, 1 << 28);
  facts.uniform.heads = json_int(config, "num_attention_heads", where, 1, 1 << 16);
  facts.uniform.kv_heads =
      json_int_or(config, "num_key_value_heads", where, 1, facts.uniform.heads, facts.uniform.heads);
  facts.uniform.ffn = json_int(config, "intermediate_size", where, 1, 1 << 26);
  const int64_t derived = derived_head_size(facts.hidden, facts.uniform.heads);
  facts.head_size = json_int_or(config, "head_dim", where, 2, 1 << 16, derived);
  if (facts.head_size == 0)
    throw UserError(where, "num_attention_heads", fmt::format("a divisor of hidden_size {}", facts.hidden),
                    fmt::format("{}", facts.uniform.heads));
  facts.uniform.head_size = facts.head_size;
  facts.context = json_int_or(config, "max_position_embeddings", where, 1, INT32_MAX, 2048);
  facts.epsilon = json_number_or(config, "layer_norm_eps", where, 1e-5);
  facts.qk_norm = json_bool_or(config, "qk_layernorm", where, false);
  facts.tied = json_bool_or(config, "tie_word_embeddings", where, false);
  facts.activation = activation_kind(json_string_or(config, "hidden_act", where, "gelu_new"), where);
  facts.rotary = rotary_plan(config, rotary_size(config, facts.head_size, where), facts.context, where);
  facts.layers = layer_count(config, "num_hidden_layers", checkpoint, kBlock, where);
  return facts;
}

ValueId attention(GraphBuilder& b, const std::string& at, ValueId x, const PhiFacts& facts, const LayerPlan& plan) {
  const int64_t width = plan.heads * facts.head_size, kv_width = plan.kv_heads * facts.head_size;
  ValueId q = b.linear(at + "q_proj", x, facts.hidden, width, true);
  ValueId k = b.linear(at + "k_proj", x, facts.hidden, kv_width, true);
  const ValueId v = b.linear(at + "v_proj", x, facts.hidden, kv_width, true);
  if (facts.qk_norm) {
    q = b.head_layer_norm(at + "q_layernorm", q, facts.head_size, facts.epsilon);
    k = b.head_layer_norm(at + "k_layernorm", k, facts.head_size, facts.epsilon);
  }
  q = b.rotary(at + "q_rotary", q, facts.head_size, facts.rotary.inverse_frequency, facts.rotary.scale);
  k = b.rotary(at + "k_rotary", k, facts.head_size, facts.rotary.inverse_frequency, facts.rotary.scale);
  const double scale = 1 / std::sqrt(static_cast<double>(facts.head_size));
  return b.linear(at + "dense", b.attention(at + "attention", q, k, v, facts.head_size, scale, 0), width, facts.hidden,
                  true);
}

ValueId mlp(GraphBuilder& b, const std::string& at, ValueId x, const PhiFacts& facts, int64_t ffn) {
  const ValueId inner = b.activation(at + "act", b.linear(at + "fc1", x, facts.hidden, ffn, true), facts.activation);
  return b.linear(at + "fc2", inner, ffn, facts.hidden, true);
}

// h + attention + MLP as two sums, so that each branch is a sub-layer of its own.
ValueId block(GraphBuilder& b, const std::string& at, ValueId h, const PhiFacts& facts, const LayerPlan& plan) {
  if (plan.heads == 0 && plan.ffn == 0) return h;
  const ValueId x = b.layer_norm(at + "input_layernorm", h, facts.hidden, facts.epsilon);
  if (plan.heads > 0) h = b.add(at + "attention_residual", h, attention(b, at + "self_attn.", x, facts, plan));
  if (plan.ffn > 0) h = b.add(at + "mlp_residual", h, mlp(b, at + "mlp.", x, facts, plan.ffn));
  return h;
}

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const PhiFacts facts = read_facts(config, checkpoint, where);
  const auto plans = read_layer_plans(config, facts.layers, facts.uniform, where);
  GraphBuilder b(checkpoint, where);
  ValueId h = b.embedding("model.embed_tokens", b.token_ids(), facts.vocab, facts.hidden);
  for (int64_t i = 0; i < facts.layers; ++i) {
    b.set_block(static_cast<int>(i));
    h = block(b, block_name(kBlock, i), h, facts, plans[static_cast<size_t>(i)]);
  }
  b.set_block(static_cast<int>(facts.layers));
  h = b.layer_norm("model.final_layernorm", h, facts.hidden, facts.epsilon);
  const ValueId logits = facts.tied ? b.tied_linear("lm_head", h, "model.embed_tokens.weight", facts.vocab)
                                    : b.linear("lm_head", h, facts.hidden, facts.vocab, true);
  return b.finish(logits, static_cast<int>(facts.layers), [](const std::string& tensor) {
    return tensor.ends_with("rotary_emb.inv_freq") || tensor == "lm_head.weight";
  });
}

void write_config(Json& config, const Graph& graph) {
  const int64_t hidden = graph.parameter("model.embed_tokens.weight").shape().at(1);
  write_widths(config, graph,
               {"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
                "hidden_size"},
               hidden);
}

const RegisterFamily registered({"phi", {"phi"}, build, write_config, [](const Graph&) {
                                   return std::string(kBlock);
                                 }});

}  // namespace
}  // namespace espalier
