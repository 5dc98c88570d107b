// The Llama family: Llama 2/3, Mistral, Qwen2, Qwen3, SmolLM, TinyLlama. Pre-norm blocks with RMSNorm, rotary
// positions, grouped-query attention and a gated MLP; they differ in biases, QK norm, window and tied embeddings.
#include <algorithm>
#include <cmath>
#include <optional>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/family.h"
#include "espalier/families/layer_plan.h"
#include "espalier/families/rotary.h"

namespace espalier {
namespace {

constexpr const char* kBlock = "model.layers.{}.";
constexpr const char *kFull = "full_attention", *kSliding = "sliding_attention";
// What the absence of a key means to these architectures.
constexpr int64_t kMaxWindowLayers = 28, kWindow = 4096, kQwen3HeadSize = 128;

struct LlamaFacts {
  int64_t hidden, vocab, layers, head_size, context;
  std::vector<int64_t> windows;  // of each block, 0: none
  LayerPlan uniform;
  double epsilon;
  bool qkv_bias, out_bias, mlp_bias, qk_norm, tied;
  std::string activation;
  RotaryPlan rotary;
};

// A list of one word a block, else nothing.
std::optional<std::vector<std::string>> layer_types(const Json& config, int64_t layers, const std::string& where) {
  const auto list = config.find("layer_types");
  if (list == config.end() || list->is_null()) return std::nullopt;
  if (!list->is_array() || static_cast<int64_t>(list->size()) != layers)
    throw UserError(where, "layer_types", fmt::format("a list of {} words, one a block", layers),
                    list->is_array() ? fmt::format("{}", list->size()) : describe(*list));
  std::vector<std::string> types;
  for (const Json& entry : *list) {
    if (entry != kFull && entry != kSliding)
      throw UserError(where, "layer_types", fmt::format("{} or {}", kFull, kSliding), describe(entry));
    types.push_back(entry.get<std::string>());
  }
  return types;
}

// Mistral's window holds in every block, Qwen's in those from max_window_layers on; a list of types says it outright.
std::vector<int64_t> read_windows(const Json& config, const std::string& type, int64_t layers,
                                  const std::string& where) {
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  const bool used = json_bool_or(config, "use_sliding_window", where, type == "mistral");
  const int64_t window = !used ? 0
                         : !config.contains("sliding_window")
                             ? kWindow
                             : json_int_or(config, "sliding_window", where, 0, INT32_MAX, 0);
  if (window == 0) return windows;
  const auto types = layer_types(config, layers, where);
  const int64_t first =
      type == "mistral" ? 0 : json_int_or(config, "max_window_layers", where, 0, INT32_MAX, kMaxWindowLayers);
  for (size_t i = 0; i < windows.size(); ++i)
    if (types ? (*types)[i] == kSliding : static_cast<int64_t>(i) >= first) windows[i] = window;
  return windows;
}

int64_t read_head_size(const Json& config, const std::string& type, int64_t hidden, int64_t heads,
                       const std::string& where) {
  if (type == "qwen3" && !config.contains("head_dim")) return kQwen3HeadSize;
  const int64_t derived = derived_head_size(hidden, heads);
  const int64_t size = json_int_or(config, "head_dim", where, 2, 1 << 16, derived);
  if (size == 0)
    throw UserError(where, "num_attention_heads", fmt::format("a divisor of hidden_size {}", hidden),
                    fmt::format("{}", heads));
  return size;
}

LlamaFacts read_facts(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  LlamaFacts facts{};
  const std::string type = json_string(config, "model_type", where);
  facts.hidden = json_int(config, "hidden_size", where, 1, 1 << 20);
  facts.vocab = json_int(config, "vocab_size", where, 1, 1 << 28);
  facts.uniform.heads = json_int(config, "num_attention_heads", where, 1, 1 << 16);
  facts.uniform.kv_heads =
      json_int_or(config, "num_key_value_heads", where, 1, facts.uniform.heads, facts.uniform.heads);
  facts.uniform.ffn = json_int(config, "intermediate_size", where, 1, 1 << 26);
  facts.head_size = read_head_size(config, type, facts.hidden, facts.uniform.heads, where);
  facts.context = json_int_or(config, "max_position_embeddings", where, 1, INT32_MAX, 2048);
  facts.epsilon = json_number_or(config, "rms_norm_eps", where, 1e-6);
  const bool attention_bias = json_bool_or(config, "attention_bias", where, false);
  facts.qkv_bias = attention_bias || type == "qwen2";
  facts.out_bias = attention_bias && type != "qwen2";
  facts.mlp_bias = json_bool_or(config, "mlp_bias", where, false);
  facts.qk_norm = type == "qwen3";
  facts.tied = json_bool_or(config, "tie_word_embeddings", where, false);
  facts.activation = activation_kind(json_string_or(config, "hidden_act", where, "silu"), where);
  facts.rotary = rotary_plan(config, facts.head_size, facts.context, where);
  facts.layers = layer_count(config, "num_hidden_layers", checkpoint, kBlock, where);
  facts.windows = read_windows(config, type, facts.layers, where);
  facts.uniform.head_size = facts.head_size;
  return facts;
}

ValueId attention(GraphBuilder& b, const std::string& at, ValueId x, const LlamaFacts& facts, const LayerPlan& plan,
                  int64_t window) {
  const int64_t width = plan.heads * facts.head_size, kv_width = plan.kv_heads * facts.head_size;
  ValueId q = b.linear(at + "q_proj", x, facts.hidden, width, facts.qkv_bias);
  ValueId k = b.linear(at + "k_proj", x, facts.hidden, kv_width, facts.qkv_bias);
  const ValueId v = b.linear(at + "v_proj", x, facts.hidden, kv_width, facts.qkv_bias);
  if (facts.qk_norm) {
    q = b.head_norm(at + "q_norm", q, facts.head_size, facts.epsilon);
    k = b.head_norm(at + "k_norm", k, facts.head_size, facts.epsilon);
  }
  q = b.rotary(at + "q_rotary", q, facts.head_size, facts.rotary.inverse_frequency, facts.rotary.scale);
  k = b.rotary(at + "k_rotary", k, facts.head_size, facts.rotary.inverse_frequency, facts.rotary.scale);
  const double scale = 1 / std::sqrt(static_cast<double>(facts.head_size));
  const ValueId heads = b.attention(at + "attention", q, k, v, facts.head_size, scale, window);
  return b.linear(at + "o_proj", heads, width, facts.hidden, facts.out_bias);
}

ValueId gated_mlp(GraphBuilder& b, const std::string& at, ValueId x, const LlamaFacts& facts, int64_t ffn) {
  const ValueId gate = b.linear(at + "gate_proj", x, facts.hidden, ffn, facts.mlp_bias);
  const ValueId up = b.linear(at + "up_proj", x, facts.hidden, ffn, facts.mlp_bias);
  const ValueId product = b.mul(at + "product", b.activation(at + "act", gate, facts.activation), up);
  return b.linear(at + "down_proj", product, ffn, facts.hidden, facts.mlp_bias);
}

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const LlamaFacts facts = read_facts(config, checkpoint, where);
  const auto plans = read_layer_plans(config, facts.layers, facts.uniform, where);
  GraphBuilder b(checkpoint, where);
  ValueId h = b.embedding("model.embed_tokens", b.token_ids(), facts.vocab, facts.hidden);
  for (int64_t i = 0; i < facts.layers; ++i) {
    const std::string at = block_name(kBlock, i);
    const LayerPlan& plan = plans[static_cast<size_t>(i)];
    b.set_block(static_cast<int>(i));
    if (plan.heads > 0) {
      const ValueId x = b.rms_norm(at + "input_layernorm", h, facts.hidden, facts.epsilon);
      h = b.add(at + "attention_residual", h,
                attention(b, at + "self_attn.", x, facts, plan, facts.windows[static_cast<size_t>(i)]));
    }
    if (plan.ffn > 0) {
      const ValueId x = b.rms_norm(at + "post_attention_layernorm", h, facts.hidden, facts.epsilon);
      h = b.add(at + "mlp_residual", h, gated_mlp(b, at + "mlp.", x, facts, plan.ffn));
    }
  }
  b.set_block(static_cast<int>(facts.layers));
  h = b.rms_norm("model.norm", h, facts.hidden, facts.epsilon);
  const ValueId logits = facts.tied ? b.tied_linear("lm_head", h, "model.embed_tokens.weight")
                                    : b.linear("lm_head", h, facts.hidden, facts.vocab, false);
  return b.finish(logits, static_cast<int>(facts.layers), [](const std::string& tensor) {
    return tensor.ends_with("rotary_emb.inv_freq") || tensor == "lm_head.weight";
  });
}

// Removing blocks shifts the windows of the others.
void write_windows(Json& config, const Graph& graph) {
  std::vector<bool> sliding(static_cast<size_t>(graph.block_count), false);
  for (const Node& node : graph.nodes)
    if (node.op == "Attention") sliding.at(static_cast<size_t>(node.block)) = node.integer_or("window", 0) > 0;
  if (config.contains("layer_types")) {
    Json types = Json::array();
    for (bool slides : sliding) types.push_back(slides ? kSliding : kFull);
    config["layer_types"] = types;
  }
  if (config.contains("max_window_layers") && std::count(sliding.begin(), sliding.end(), true) > 0)
    config["max_window_layers"] = std::find(sliding.begin(), sliding.end(), true) - sliding.begin();
}

void write_config(Json& config, const Graph& graph) {
  const int64_t hidden = graph.parameter("model.embed_tokens.weight").shape().at(1);
  write_widths(config, graph,
               {"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
                "hidden_size"},
               hidden);
  write_windows(config, graph);
}

const RegisterFamily registered(
    {"llama", {"llama", "mistral", "qwen2", "qwen3"}, build, write_config, [](const Graph&) {
       return std::string(kBlock);
     }});

}  // namespace
}  // namespace espalier
