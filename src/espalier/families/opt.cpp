// OPT: learned positions that start at row 2, separate Q, K and V, ReLU MLP, LayerNorm before each branch or (the 350m
// model) after it, optionally a narrower token embedding with projections in and out, head tied to it. The head size
// follows from hidden_size; layer_plan.h tells what is written when a cut falsifies that.
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/family.h"
#include "espalier/families/layer_plan.h"

namespace espalier::opt_family {
namespace {

constexpr int64_t kPositionOffset = 2;
constexpr double kEpsilon = 1e-5;  // not configurable in this family

struct OptFacts {
  std::string prefix;  // "model.decoder." or "decoder."
  int64_t hidden, embed, vocab, layers, positions;
  LayerPlan uniform;
  bool norm_first, final_norm, bias, affine, tied, projected;
  std::string activation;
};

OptFacts read_facts(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  OptFacts facts{};
  facts.prefix = checkpoint.has("decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
  facts.hidden = json_int(config, "hidden_size", where, 1, 1 << 20);
  facts.embed = json_int_or(config, "word_embed_proj_dim", where, 1, 1 << 20, facts.hidden);
  facts.vocab = json_int(config, "vocab_size", where, 1, 1 << 28);
  facts.positions = json_int_or(config, "max_position_embeddings", where, 1, 1 << 28, 2048);
  facts.uniform.heads = facts.uniform.kv_heads = json_int(config, "num_attention_heads", where, 1, 1 << 16);
  facts.uniform.head_size = derived_head_size(facts.hidden, facts.uniform.heads);
  facts.uniform.ffn = json_int(config, "ffn_dim", where, 1, 1 << 26);
  facts.norm_first = json_bool_or(config, "do_layer_norm_before", where, true);
  facts.final_norm = facts.norm_first && !json_bool_or(config, "_remove_final_layer_norm", where, false);
  facts.bias = json_bool_or(config, "enable_bias", where, true);
  facts.affine = json_bool_or(config, "layer_norm_elementwise_affine", where, true);
  facts.tied = json_bool_or(config, "tie_word_embeddings", where, true);
  // A cut may by chance make the widths equal; the projections are still there.
  facts.projected = facts.embed != facts.hidden || checkpoint.has(facts.prefix + "project_in.weight");
  facts.activation = activation_kind(json_string_or(config, "activation_function", where, "relu"), where);
  facts.layers = layer_count(config, "num_hidden_layers", checkpoint, facts.prefix + "layers.{}.", where);
  return facts;
}

ValueId attention(GraphBuilder& b, const std::string& at, ValueId x, const OptFacts& facts, const LayerPlan& plan) {
  const int64_t width = plan.heads * plan.head_size;
  const ValueId q = b.linear(at + "q_proj", x, facts.hidden, width, facts.bias);
  const ValueId k = b.linear(at + "k_proj", x, facts.hidden, width, facts.bias);
  const ValueId v = b.linear(at + "v_proj", x, facts.hidden, width, facts.bias);
  const double scale = 1 / std::sqrt(static_cast<double>(plan.head_size));
  return b.linear(at + "out_proj", b.attention(at + "attention", q, k, v, plan.head_size, scale, 0), width,
                  facts.hidden, facts.bias);
}

ValueId mlp(GraphBuilder& b, const std::string& at, ValueId x, const OptFacts& facts, int64_t ffn) {
  const ValueId inner =
      b.activation(at + "act", b.linear(at + "fc1", x, facts.hidden, ffn, facts.bias), facts.activation);
  return b.linear(at + "fc2", inner, ffn, facts.hidden, facts.bias);
}

ValueId block(GraphBuilder& b, const std::string& at, ValueId h, const OptFacts& facts, const LayerPlan& plan) {
  auto norm = [&](const char* name, ValueId x, bool here) {
    return here ? b.layer_norm(at + name, x, facts.hidden, kEpsilon, facts.affine) : x;
  };
  if (plan.heads > 0) {
    const ValueId x = norm("self_attn_layer_norm", h, facts.norm_first);
    h = b.add(at + "attention_residual", h, attention(b, at + "self_attn.", x, facts, plan));
  }
  // After the sum the norm belongs to the stream and stays when the branch goes.
  h = norm("self_attn_layer_norm", h, !facts.norm_first);
  if (plan.ffn > 0) {
    const ValueId x = norm("final_layer_norm", h, facts.norm_first);
    h = b.add(at + "mlp_residual", h, mlp(b, at, x, facts, plan.ffn));
  }
  return norm("final_layer_norm", h, !facts.norm_first);
}

ValueId embed(GraphBuilder& b, const OptFacts& facts) {
  const ValueId ids = b.token_ids();
  ValueId tokens = b.embedding(facts.prefix + "embed_tokens", ids, facts.vocab, facts.embed);
  if (facts.projected) tokens = b.linear(facts.prefix + "project_in", tokens, facts.embed, facts.hidden, false);
  return b.add(
      facts.prefix + "embeddings", tokens,
      b.position_embedding(facts.prefix + "embed_positions", ids, facts.positions, facts.hidden, kPositionOffset));
}

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const OptFacts facts = read_facts(config, checkpoint, where);
  const auto plans = read_layer_plans(config, facts.layers, facts.uniform, where);
  GraphBuilder b(checkpoint, where);
  ValueId h = embed(b, facts);
  for (int64_t i = 0; i < facts.layers; ++i) {
    b.set_block(static_cast<int>(i));
    h = block(b, block_name(facts.prefix + "layers.{}.", i), h, facts, plans[static_cast<size_t>(i)]);
  }
  b.set_block(static_cast<int>(facts.layers));
  if (facts.final_norm) h = b.layer_norm(facts.prefix + "final_layer_norm", h, facts.hidden, kEpsilon, facts.affine);
  if (facts.projected) h = b.linear(facts.prefix + "project_out", h, facts.hidden, facts.embed, false);
  const ValueId logits = facts.tied ? b.tied_linear("lm_head", h, facts.prefix + "embed_tokens.weight")
                                    : b.linear("lm_head", h, facts.embed, facts.vocab, false);
  return b.finish(logits, static_cast<int>(facts.layers),
                  [](const std::string& tensor) { return tensor == "lm_head.weight"; });
}

std::string prefix_of(const Graph& graph) {
  return graph.has_parameter("decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
}

void write_config(Json& config, const Graph& graph) {
  const std::string prefix = prefix_of(graph);
  const int64_t hidden = graph.parameter(prefix + "embed_positions.weight").shape().at(1);
  write_widths(config, graph, {"num_hidden_layers", "num_attention_heads", "", "", "ffn_dim", "hidden_size"}, hidden);
  config["word_embed_proj_dim"] = graph.parameter(prefix + "embed_tokens.weight").shape().at(1);
}

const RegisterFamily registered({"opt", {"opt"}, build, write_config, [](const Graph& graph) {
                                   return prefix_of(graph) + "layers.{}.";
                                 }});

}  // namespace
}  // namespace espalier::opt_family
