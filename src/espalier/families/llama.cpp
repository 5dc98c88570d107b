// The Llama family: Llama 2/3, Mistral, Qwen2, Qwen3, SmolLM, TinyLlama. Pre-norm blocks with RMSNorm, rotary
// positions, grouped-query attention and a gated MLP; they differ in biases, QK norm, window and tied embeddings.
#include <algorithm>
#include <optional>

#include "espalier/core/error.h"
#include "espalier/families/family.h"
#include "espalier/families/rotary_decoder.h"

namespace espalier::llama_family {
namespace {

constexpr const char *kFull = "full_attention", *kSliding = "sliding_attention";
// What the absence of a key means to these architectures.
constexpr int64_t kMaxWindowLayers = 28, kWindow = 4096, kQwen3HeadSize = 128;

struct LlamaFacts : RotaryDecoderFacts {
  std::vector<int64_t> windows;  // of each block, 0: none
  bool qkv_bias, out_bias, mlp_bias, qk_norm;
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

LlamaFacts read_facts(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const std::string type = json_string(config, "model_type", where);
  const int64_t absent_head_size = type == "qwen3" ? kQwen3HeadSize : 0;
  LlamaFacts facts{read_rotary_decoder(config, checkpoint, where, {"rms_norm_eps", 1e-6, "silu", absent_head_size}),
                   {},
                   {},
                   {},
                   {},
                   {}};
  const bool attention_bias = json_bool_or(config, "attention_bias", where, false);
  facts.qkv_bias = attention_bias || type == "qwen2";
  facts.out_bias = attention_bias && type != "qwen2";
  facts.mlp_bias = json_bool_or(config, "mlp_bias", where, false);
  facts.qk_norm = type == "qwen3";
  facts.rotary = rotary_plan(config, facts.head_size, facts.context, where);
  facts.windows = read_windows(config, type, facts.layers, where);
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
  const ValueId heads = rotary_attention(b, at, q, k, v, facts, window);
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
    const std::string at = block_name(kRotaryDecoderBlock, i);
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
  return b.finish(logits, static_cast<int>(facts.layers), is_ignored_by_rotary_decoder);
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
  write_rotary_decoder_widths(config, graph);
  write_windows(config, graph);
}

const RegisterFamily registered(
    {"llama", {"llama", "mistral", "qwen2", "qwen3"}, build, write_config, [](const Graph&) {
       return std::string(kRotaryDecoderBlock);
     }});

}  // namespace
}  // namespace espalier::llama_family
