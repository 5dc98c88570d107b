// Tiny random models of every family, as Hugging Face directories. Weights follow from the tensors' names by integer
// arithmetic, the same here and in tests/judge/make_reference_logits.py, so another implementation can be asked what
// these very models compute.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/families/family.h"
#include "espalier/io/safetensors.h"

namespace espalier::test {

struct TinyOptions {
  int64_t hidden = 32, heads = 4, head_size = 8, ffn = 48, layers = 3, vocab = 31, context = 64;
  int64_t kv_heads = 2;  // of Llama-like models and Phi
  bool tied = false;
  DType dtype = DType::kF32;
  std::string prefix = "";       // of GPT-2 and OPT names: "" means the usual one
  int64_t embed = 0;             // OPT: word_embed_proj_dim; 0: hidden
  bool norm_first = true;        // OPT: do_layer_norm_before
  bool qk_norm = false;          // Phi: qk_layernorm
  Json config = Json::object();  // keys to set in config.json besides
};

// fp32 in [-0.25, 0.25); 1 more for weights and variances of norms. Element i mixes FNV-1a of the name with i by splitmix64.
inline std::vector<float> tiny_values(std::string_view name, const Shape& shape) {
  uint64_t seed = 0xcbf29ce484222325;
  for (unsigned char byte : name) seed = (seed ^ byte) * 0x100000001b3;
  const bool of_norm = name.ends_with(".weight") || name.ends_with(".gamma") || name.ends_with(".running_var");
  const double offset = shape.size() == 1 && of_norm ? 1 : 0;
  std::vector<float> values(static_cast<size_t>(element_count(shape)));
  for (size_t i = 0; i < values.size(); ++i) {
    uint64_t z = seed + i + 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    values[i] = static_cast<float>(offset + 0.25 * (static_cast<double>(z >> 40) / 0x1p23 - 1));
  }
  return values;
}

struct TinyModel {
  Json config;
  std::vector<TensorSpec> tensors;

  void add(const std::string& name, Shape shape) { tensors.push_back({name, DType::kF32, std::move(shape)}); }
  void linear(const std::string& name, int64_t in, int64_t out, bool bias) {
    add(name + ".weight", {out, in});
    if (bias) add(name + ".bias", {out});
  }
  void conv1d(const std::string& name, int64_t in, int64_t out) {
    add(name + ".weight", {in, out});
    add(name + ".bias", {out});
  }
  void layer_norm(const std::string& name, int64_t width) {
    add(name + ".weight", {width});
    add(name + ".bias", {width});
  }
};

inline void write_tiny(const std::filesystem::path& directory, const TinyModel& model, DType dtype = DType::kF32) {
  std::filesystem::create_directories(directory);
  write_file_atomically(directory / "config.json", model.config.dump(1));
  auto specs = model.tensors;
  for (auto& spec : specs) spec.dtype = dtype;
  SafetensorsWriter writer(directory / "model.safetensors", specs);
  for (const auto& spec : specs)
    writer.write(spec.name, Tensor::from_floats(spec.shape, tiny_values(spec.name, spec.shape)).to(dtype));
  writer.commit();
}

// What the configurations and the projections of Llama-like models and Phi share.
inline Json rotary_decoder_config(const TinyOptions& o, const std::string& type) {
  return {{"model_type", type},
          {"hidden_size", o.hidden},
          {"num_attention_heads", o.heads},
          {"num_key_value_heads", o.kv_heads},
          {"intermediate_size", o.ffn},
          {"num_hidden_layers", o.layers},
          {"vocab_size", o.vocab},
          {"max_position_embeddings", o.context},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", o.tied}};
}

inline void add_grouped_qkv(TinyModel& m, const std::string& at, const TinyOptions& o, bool bias) {
  m.linear(at + "q_proj", o.hidden, o.heads * o.head_size, bias);
  m.linear(at + "k_proj", o.hidden, o.kv_heads * o.head_size, bias);
  m.linear(at + "v_proj", o.hidden, o.kv_heads * o.head_size, bias);
}

// type: llama, mistral, qwen2 or qwen3
inline TinyModel tiny_llama(const TinyOptions& o, const std::string& type = "llama") {
  TinyModel m;
  m.config = rotary_decoder_config(o, type);
  m.config.update({{"rms_norm_eps", 1e-5}, {"hidden_act", "silu"}});
  if (o.heads * o.head_size != o.hidden || type == "qwen3") m.config["head_dim"] = o.head_size;
  m.config.update(o.config);
  const bool attention_bias = m.config.value("attention_bias", false), mlp_bias = m.config.value("mlp_bias", false);
  m.add("model.embed_tokens.weight", {o.vocab, o.hidden});
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string at = fmt::format("model.layers.{}.", i), self = at + "self_attn.", mlp = at + "mlp.";
    add_grouped_qkv(m, self, o, attention_bias || type == "qwen2");
    m.linear(self + "o_proj", o.heads * o.head_size, o.hidden, attention_bias);
    if (type == "qwen3") m.add(self + "q_norm.weight", {o.head_size});
    if (type == "qwen3") m.add(self + "k_norm.weight", {o.head_size});
    m.linear(mlp + "gate_proj", o.hidden, o.ffn, mlp_bias);
    m.linear(mlp + "up_proj", o.hidden, o.ffn, mlp_bias);
    m.linear(mlp + "down_proj", o.ffn, o.hidden, mlp_bias);
    m.add(at + "input_layernorm.weight", {o.hidden});
    m.add(at + "post_attention_layernorm.weight", {o.hidden});
  }
  m.add("model.norm.weight", {o.hidden});
  if (!o.tied) m.add("lm_head.weight", {o.vocab, o.hidden});
  return m;
}

// heads · head_size is the hidden size; the head is tied.
inline TinyModel tiny_gpt2(const TinyOptions& o) {
  TinyModel m;
  m.config = {{"model_type", "gpt2"},
              {"n_embd", o.hidden},
              {"n_head", o.heads},
              {"n_layer", o.layers},
              {"n_positions", o.context},
              {"vocab_size", o.vocab},
              {"n_inner", o.ffn == 4 * o.hidden ? Json() : Json(o.ffn)},
              {"activation_function", "gelu_new"},
              {"layer_norm_epsilon", 1e-5}};
  m.config.update(o.config);
  const std::string prefix = o.prefix.empty() ? "transformer." : o.prefix == "none" ? "" : o.prefix;
  m.add(prefix + "wte.weight", {o.vocab, o.hidden});
  m.add(prefix + "wpe.weight", {o.context, o.hidden});
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string at = fmt::format("{}h.{}.", prefix, i);
    m.layer_norm(at + "ln_1", o.hidden);
    m.conv1d(at + "attn.c_attn", o.hidden, 3 * o.hidden);
    m.conv1d(at + "attn.c_proj", o.hidden, o.hidden);
    m.layer_norm(at + "ln_2", o.hidden);
    m.conv1d(at + "mlp.c_fc", o.hidden, o.ffn);
    m.conv1d(at + "mlp.c_proj", o.ffn, o.hidden);
  }
  m.layer_norm(prefix + "ln_f", o.hidden);
  return m;
}

inline TinyModel tiny_opt(const TinyOptions& o) {
  TinyModel m;
  const int64_t embed = o.embed ? o.embed : o.hidden;
  m.config = {{"model_type", "opt"},
              {"hidden_size", o.hidden},
              {"num_attention_heads", o.heads},
              {"ffn_dim", o.ffn},
              {"num_hidden_layers", o.layers},
              {"vocab_size", o.vocab},
              {"max_position_embeddings", o.context},
              {"word_embed_proj_dim", embed},
              {"do_layer_norm_before", o.norm_first},
              {"activation_function", "relu"}};
  m.config.update(o.config);
  const bool bias = m.config.value("enable_bias", true), affine = m.config.value("layer_norm_elementwise_affine", true);
  const std::string prefix = o.prefix.empty() ? "model.decoder." : o.prefix;
  auto norm = [&](const std::string& name) {
    if (affine) m.layer_norm(name, o.hidden);
  };
  m.add(prefix + "embed_tokens.weight", {o.vocab, embed});
  m.add(prefix + "embed_positions.weight", {o.context + 2, o.hidden});
  if (embed != o.hidden) m.linear(prefix + "project_out", o.hidden, embed, false);
  if (embed != o.hidden) m.linear(prefix + "project_in", embed, o.hidden, false);
  if (o.norm_first) norm(prefix + "final_layer_norm");
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string at = fmt::format("{}layers.{}.", prefix, i);
    for (const char* name : {"k_proj", "v_proj", "q_proj", "out_proj"})
      m.linear(at + "self_attn." + name, o.hidden, o.hidden, bias);
    norm(at + "self_attn_layer_norm");
    m.linear(at + "fc1", o.hidden, o.ffn, bias);
    m.linear(at + "fc2", o.ffn, o.hidden, bias);
    norm(at + "final_layer_norm");
  }
  return m;
}

inline TinyModel tiny_phi(const TinyOptions& o) {
  TinyModel m;
  m.config = rotary_decoder_config(o, "phi");
  m.config.update({{"layer_norm_eps", 1e-5},
                   {"partial_rotary_factor", 0.5},
                   {"hidden_act", "gelu_new"},
                   {"qk_layernorm", o.qk_norm}});
  m.config.update(o.config);
  m.add("model.embed_tokens.weight", {o.vocab, o.hidden});
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string at = fmt::format("model.layers.{}.", i), self = at + "self_attn.";
    add_grouped_qkv(m, self, o, true);
    m.linear(self + "dense", o.heads * o.head_size, o.hidden, true);
    if (o.qk_norm) m.layer_norm(self + "q_layernorm", o.head_size);
    if (o.qk_norm) m.layer_norm(self + "k_layernorm", o.head_size);
    m.linear(at + "mlp.fc1", o.hidden, o.ffn, true);
    m.linear(at + "mlp.fc2", o.ffn, o.hidden, true);
    m.layer_norm(at + "input_layernorm", o.hidden);
  }
  m.layer_norm("model.final_layernorm", o.hidden);
  if (!o.tied) m.add("lm_head.weight", {o.vocab, o.hidden});
  m.add("lm_head.bias", {o.vocab});
  return m;
}

inline TinyModel tiny_model(const std::string& type, const TinyOptions& options) {
  return type == "gpt2"  ? tiny_gpt2(options)
         : type == "opt" ? tiny_opt(options)
         : type == "phi" ? tiny_phi(options)
                         : tiny_llama(options, type);
}

inline void write_tiny(const std::filesystem::path& dir, const std::string& type, const TinyOptions& o = {}) {
  write_tiny(dir, tiny_model(type, o), o.dtype);
}
inline void write_tiny_llama(const std::filesystem::path& dir, const TinyOptions& o = {}) {
  write_tiny(dir, "llama", o);
}

// Written and loaded.
inline Model load_tiny(const std::filesystem::path& dir, const std::string& type, const TinyOptions& options = {}) {
  write_tiny(dir, type, options);
  return load_model(dir);
}

}  // namespace espalier::test
