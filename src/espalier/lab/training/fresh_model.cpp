#include "espalier/lab/training/fresh_model.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/json.h"
#include "espalier/core/rng.h"
#include "espalier/io/safetensors.h"

namespace espalier {
namespace {

std::vector<TensorSpec> tensor_specs(const LlamaShape& s) {
  const int64_t kv = s.hidden / s.heads * s.kv_heads;
  std::vector<TensorSpec> specs = {{"model.embed_tokens.weight", DType::kF32, {s.vocab, s.hidden}}};
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string at = fmt::format("model.layers.{}.", i);
    specs.insert(specs.end(), {{at + "input_layernorm.weight", DType::kF32, {s.hidden}},
                               {at + "self_attn.q_proj.weight", DType::kF32, {s.hidden, s.hidden}},
                               {at + "self_attn.k_proj.weight", DType::kF32, {kv, s.hidden}},
                               {at + "self_attn.v_proj.weight", DType::kF32, {kv, s.hidden}},
                               {at + "self_attn.o_proj.weight", DType::kF32, {s.hidden, s.hidden}},
                               {at + "post_attention_layernorm.weight", DType::kF32, {s.hidden}},
                               {at + "mlp.gate_proj.weight", DType::kF32, {s.ffn, s.hidden}},
                               {at + "mlp.up_proj.weight", DType::kF32, {s.ffn, s.hidden}},
                               {at + "mlp.down_proj.weight", DType::kF32, {s.hidden, s.ffn}}});
  }
  specs.push_back({"model.norm.weight", DType::kF32, {s.hidden}});
  return specs;
}

Tensor initial_value(const TensorSpec& spec, const LlamaShape& shape, uint64_t seed) {
  Tensor tensor(spec.dtype, spec.shape);
  const bool residual = spec.name.ends_with("o_proj.weight") || spec.name.ends_with("down_proj.weight");
  const double deviation = shape.deviation / (residual ? std::sqrt(2.0 * static_cast<double>(shape.layers)) : 1);
  Rng rng(seed, "initial weights/" + spec.name);
  for (float& value : tensor.mutable_as<float>())
    value = spec.shape.size() == 1 ? 1.0f : static_cast<float>(deviation * rng.normal());
  return tensor;
}

}  // namespace

void initialise_decoder(Graph& graph, uint64_t seed) {
  const double layers = std::max(1, graph.block_count);
  for (const auto& node : graph.nodes) {
    const auto readers = graph.consumers(node.outputs.at(0));
    const bool residual = node.op == "Linear" && std::any_of(readers.begin(), readers.end(), [&](NodeId n) { return graph.nodes[static_cast<size_t>(n)].op == "Add"; });
    for (const auto& [role, name] : node.params) {
      Parameter& parameter = graph.parameter(name);
      if (!is_floating(parameter.dtype())) continue;
      Tensor tensor(DType::kF32, parameter.shape());
      const bool matrix = parameter.shape().size() > 1;
      Rng rng(seed, "initial weights/" + name);
      for (float& value : tensor.mutable_as<float>())
        value = matrix ? static_cast<float>(0.02 / (residual ? std::sqrt(2 * layers) : 1) * rng.normal()) : role == "bias" ? 0.0f : 1.0f;
      parameter.assign(tensor.to(parameter.dtype()));
    }
  }
}

void write_fresh_llama(const LlamaShape& s, uint64_t seed, const std::filesystem::path& directory) {
  const Json config = {{"architectures", Json::array({"LlamaForCausalLM"})},
                       {"model_type", "llama"},
                       {"vocab_size", s.vocab},
                       {"hidden_size", s.hidden},
                       {"intermediate_size", s.ffn},
                       {"num_hidden_layers", s.layers},
                       {"num_attention_heads", s.heads},
                       {"num_key_value_heads", s.kv_heads},
                       {"head_dim", s.hidden / s.heads},
                       {"max_position_embeddings", s.context},
                       {"rms_norm_eps", 1e-5},
                       {"rope_theta", 10000.0},
                       {"rope_scaling", nullptr},
                       {"hidden_act", "silu"},
                       {"tie_word_embeddings", true},
                       {"attention_bias", false},
                       {"mlp_bias", false},
                       {"bos_token_id", 0},
                       {"eos_token_id", 0},
                       {"initializer_range", s.deviation},
                       {"use_cache", true},
                       {"torch_dtype", "float32"}};
  write_file_atomically(directory / "config.json", config.dump(1) + "\n");
  const auto specs = tensor_specs(s);
  SafetensorsWriter writer(directory / "model.safetensors", specs);
  for (const auto& spec : specs) writer.write(spec.name, initial_value(spec, s, seed));
  writer.commit();
}

}  // namespace espalier
