// Phi 1, 1.5 and 2: attention and MLP read the same norm and are both added to the residual stream. Biases everywhere,
// rotary positions on a part of each head, optional grouped-query attention and QK norm, untied head with bias.
#include "espalier/core/error.h"
#include "espalier/families/family.h"
#include "espalier/families/rotary_decoder.h"

namespace espalier::phi_family {
namespace {

struct PhiFacts : RotaryDecoderFacts {
  bool qk_norm;
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
  PhiFacts facts{read_rotary_decoder(config, checkpoint, where, {"layer_norm_eps", 1e-5, "gelu_new"}), {}};
  facts.qk_norm = json_bool_or(config, "qk_layernorm", where, false);
  facts.rotary = rotary_plan(config, rotary_size(config, facts.head_size, where), facts.context, where);
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
  return b.linear(at + "dense", rotary_attention(b, at, q, k, v, facts, 0), width, facts.hidden, true);
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
    h = block(b, block_name(kRotaryDecoderBlock, i), h, facts, plans[static_cast<size_t>(i)]);
  }
  b.set_block(static_cast<int>(facts.layers));
  h = b.layer_norm("model.final_layernorm", h, facts.hidden, facts.epsilon);
  const ValueId logits = facts.tied ? b.tied_linear("lm_head", h, "model.embed_tokens.weight", facts.vocab)
                                    : b.linear("lm_head", h, facts.hidden, facts.vocab, true);
  return b.finish(logits, static_cast<int>(facts.layers), is_ignored_by_rotary_decoder);
}

const RegisterFamily registered({"phi", {"phi"}, build, write_rotary_decoder_widths, [](const Graph&) {
                                   return std::string(kRotaryDecoderBlock);
                                 }});

}  // namespace
}  // namespace espalier::phi_family
