// GPT-2: learned positions, LayerNorm before each branch, packed Q, K and V in one projection stored [in, out], biases
// everywhere, GELU MLP, head tied to the token embedding. Head size and attention scale follow from stock keys that a
// cut of heads, hidden size or (with inverse layer scaling) blocks falsifies; layer_plan.h tells what is written then.
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/family.h"
#include "espalier/families/layer_plan.h"

namespace espalier::gpt2_family {
namespace {

struct Gpt2Facts {
  std::string prefix;  // "transformer." or "", as the checkpoint has it
  int64_t hidden, vocab, layers, positions;
  LayerPlan uniform;
  double epsilon;
  bool scaled, scaled_by_layer, tied;
  std::string activation;
};

Gpt2Facts read_facts(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  Gpt2Facts facts{};
  facts.prefix = checkpoint.has("transformer.wte.weight") ? "transformer." : "";
  facts.hidden = json_int(config, "n_embd", where, 1, 1 << 20);
  facts.vocab = json_int(config, "vocab_size", where, 1, 1 << 28);
  facts.positions = json_int_or(config, "n_positions", where, 1, 1 << 28, 1024);
  facts.uniform.heads = facts.uniform.kv_heads = json_int(config, "n_head", where, 1, 1 << 16);
  facts.uniform.head_size = derived_head_size(facts.hidden, facts.uniform.heads);
  facts.uniform.ffn = json_int_or(config, "n_inner", where, 1, 1 << 26, 4 * facts.hidden);
  facts.epsilon = json_number_or(config, "layer_norm_epsilon", where, 1e-5);
  facts.scaled = json_bool_or(config, "scale_attn_weights", where, true);
  facts.scaled_by_layer = json_bool_or(config, "scale_attn_by_inverse_layer_idx", where, false);
  facts.tied = json_bool_or(config, "tie_word_embeddings", where, true);
  facts.activation = activation_kind(json_string_or(config, "activation_function", where, "gelu_new"), where);
  facts.layers = layer_count(config, "n_layer", checkpoint, facts.prefix + "h.{}.", where);
  return facts;
}

double attention_scale(bool scaled, bool scaled_by_layer, int64_t head_size, int64_t block) {
  const double scale = scaled ? 1 / std::sqrt(static_cast<double>(head_size)) : 1;
  return scaled_by_layer ? scale / static_cast<double>(block + 1) : scale;
}

ValueId attention(GraphBuilder& b, const std::string& at, ValueId x, const Gpt2Facts& facts, const LayerPlan& plan,
                  int64_t block) {
  const int64_t width = plan.heads * plan.head_size;
  const ValueId packed = b.linear(at + "c_attn", x, facts.hidden, 3 * width, true, true);
  const auto parts = b.split(at + "qkv", packed, {width, width, width});
  const double scale = plan.attention_scale != 0
                           ? plan.attention_scale
                           : attention_scale(facts.scaled, facts.scaled_by_layer, plan.head_size, block);
  const ValueId heads = b.attention(at + "attention", parts[0], parts[1], parts[2], plan.head_size, scale, 0);
  return b.linear(at + "c_proj", heads, width, facts.hidden, true, true);
}

ValueId mlp(GraphBuilder& b, const std::string& at, ValueId x, const Gpt2Facts& facts, int64_t ffn) {
  const ValueId inner =
      b.activation(at + "act", b.linear(at + "c_fc", x, facts.hidden, ffn, true, true), facts.activation);
  return b.linear(at + "c_proj", inner, ffn, facts.hidden, true, true);
}

ValueId embed(GraphBuilder& b, const Gpt2Facts& facts) {
  const ValueId ids = b.token_ids();
  const ValueId tokens = b.embedding(facts.prefix + "wte", ids, facts.vocab, facts.hidden);
  return b.add(facts.prefix + "embeddings", tokens,
               b.position_embedding(facts.prefix + "wpe", ids, facts.positions, facts.hidden, 0));
}

// Masks that old checkpoints hold as buffers, and the second name of the tied head.
bool is_ignored(const std::string& tensor) {
  return tensor.ends_with(".attn.bias") || tensor.ends_with(".attn.masked_bias") || tensor == "lm_head.weight";
}

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const Gpt2Facts facts = read_facts(config, checkpoint, where);
  const auto plans = read_layer_plans(config, facts.layers, facts.uniform, where);
  GraphBuilder b(checkpoint, where);
  ValueId h = embed(b, facts);
  for (int64_t i = 0; i < facts.layers; ++i) {
    const std::string at = block_name(facts.prefix + "h.{}.", i);
    const LayerPlan& plan = plans[static_cast<size_t>(i)];
    b.set_block(static_cast<int>(i));
    if (plan.heads > 0) {
      const ValueId x = b.layer_norm(at + "ln_1", h, facts.hidden, facts.epsilon);
      h = b.add(at + "attention_residual", h, attention(b, at + "attn.", x, facts, plan, i));
    }
    if (plan.ffn > 0) {
      const ValueId x = b.layer_norm(at + "ln_2", h, facts.hidden, facts.epsilon);
      h = b.add(at + "mlp_residual", h, mlp(b, at + "mlp.", x, facts, plan.ffn));
    }
  }
  b.set_block(static_cast<int>(facts.layers));
  h = b.layer_norm(facts.prefix + "ln_f", h, facts.hidden, facts.epsilon);
  const ValueId logits = facts.tied ? b.tied_linear("lm_head", h, facts.prefix + "wte.weight")
                                    : b.linear("lm_head", h, facts.hidden, facts.vocab, false);
  return b.finish(logits, static_cast<int>(facts.layers), is_ignored);
}

std::string prefix_of(const Graph& graph) {
  return graph.has_parameter("transformer.wte.weight") ? "transformer." : "";
}

// Blocks that stand elsewhere than before keep the scale that they were trained with.
void write_moved_scales(Json& config, const Graph& graph) {
  const bool scaled = json_bool_or(config, "scale_attn_weights", "config", true);
  const bool by_layer = json_bool_or(config, "scale_attn_by_inverse_layer_idx", "config", false);
  for (const Node& node : graph.nodes) {
    if (node.op != "Attention") continue;
    const double scale = node.real("scale");
    if (scale != attention_scale(scaled, by_layer, node.integer("head_size"), node.block))
      layer_entries(config, graph).at(static_cast<size_t>(node.block))["attention_scale"] = scale;
  }
}

void write_config(Json& config, const Graph& graph) {
  const int64_t hidden = graph.parameter(prefix_of(graph) + "wte.weight").shape().at(1);
  write_widths(config, graph, {"n_layer", "n_head", "", "", "n_inner", "n_embd"}, hidden);
  write_moved_scales(config, graph);
}

const RegisterFamily registered({"gpt2", {"gpt2"}, build, write_config, [](const Graph& graph) {
                                   return prefix_of(graph) + "h.{}.";
                                 }});

}  // namespace
}  // namespace espalier::gpt2_family
