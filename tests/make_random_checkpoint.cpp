// Writes a Llama-shaped checkpoint of random weights, of any size, tensor by tensor: loading, streaming and speed do
// not depend on what the numbers mean.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/core/rng.h"
#include "espalier/io/checkpoint_writer.h"
#include "espalier/io/tokenizers/sidecars.h"

namespace espalier {
namespace {

constexpr float kScale = 0.02f;

struct Options {
  int64_t hidden = 512, layers = 4, heads = 8, kv_heads = 0, intermediate = 0, vocab = 32000, context = 2048;
  uint64_t shard_mb = 5000, seed = 0;
  bool tied = false;
  std::string dtype = "bf16", out, tokenizer;
};

std::vector<TensorSpec> block_specs(const Options& o, DType dtype, int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const int64_t head = o.hidden / o.heads, query = o.heads * head, key = o.kv_heads * head;
  return {{prefix + "self_attn.q_proj.weight", dtype, {query, o.hidden}},
          {prefix + "self_attn.k_proj.weight", dtype, {key, o.hidden}},
          {prefix + "self_attn.v_proj.weight", dtype, {key, o.hidden}},
          {prefix + "self_attn.o_proj.weight", dtype, {o.hidden, query}},
          {prefix + "mlp.gate_proj.weight", dtype, {o.intermediate, o.hidden}},
          {prefix + "mlp.up_proj.weight", dtype, {o.intermediate, o.hidden}},
          {prefix + "mlp.down_proj.weight", dtype, {o.hidden, o.intermediate}},
          {prefix + "input_layernorm.weight", dtype, {o.hidden}},
          {prefix + "post_attention_layernorm.weight", dtype, {o.hidden}}};
}

std::vector<TensorSpec> all_specs(const Options& o, DType dtype) {
  std::vector<TensorSpec> specs{{"model.embed_tokens.weight", dtype, {o.vocab, o.hidden}}};
  for (int64_t layer = 0; layer < o.layers; ++layer)
    for (TensorSpec& spec : block_specs(o, dtype, layer)) specs.push_back(std::move(spec));
  specs.push_back({"model.norm.weight", dtype, {o.hidden}});
  if (!o.tied) specs.push_back({"lm_head.weight", dtype, {o.vocab, o.hidden}});
  return specs;
}

// The sum of four uniform 16-bit numbers is close enough to a normal distribution and costs one draw.
float cheap_normal(Rng& rng) {
  const uint64_t bits = rng.next();
  const auto sum = static_cast<int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
  const float unit = std::sqrt(3.0f) / 65536;  // the variance of the sum is 4 * 65536^2 / 12
  return static_cast<float>(sum - 2 * 65535) * unit;
}

Tensor random_tensor(const TensorSpec& spec, uint64_t seed) {
  Tensor tensor(spec.dtype, spec.shape);
  Rng rng(seed, spec.name);
  const bool norm = spec.shape.size() == 1;
  auto value = [&] { return norm ? 1.0f : kScale * cheap_normal(rng); };
  if (spec.dtype == DType::kBF16) {
    for (uint16_t& bits : tensor.mutable_as<uint16_t>()) bits = float_to_bf16(value());
  } else {
    for (float& element : tensor.mutable_as<float>()) element = value();
  }
  return tensor;
}

void write_config(const Options& o) {
  Json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"hidden_size", o.hidden},
                 {"intermediate_size", o.intermediate},
                 {"num_hidden_layers", o.layers},
                 {"num_attention_heads", o.heads},
                 {"num_key_value_heads", o.kv_heads},
                 {"head_dim", o.hidden / o.heads},
                 {"vocab_size", o.vocab},
                 {"max_position_embeddings", o.context},
                 {"hidden_act", "silu"},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 10000.0},
                 {"tie_word_embeddings", o.tied},
                 {"attention_bias", false},
                 {"mlp_bias", false},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2},
                 {"initializer_range", kScale},
                 {"torch_dtype", o.dtype == "bf16" ? "bfloat16" : "float32"}};
  write_file_atomically(std::filesystem::path(o.out) / "config.json", config.dump(2) + "\n");
}

std::vector<std::filesystem::path> tokenizer_to_copy(const Options& o) {
  if (o.tokenizer.empty()) return {};
  const auto files = tok::tokenizer_files(o.tokenizer);
  if (files.empty()) user_error("{}: holds no tokenizer file that espalier reads", o.tokenizer);
  return files;
}

void make(Options o) {
  if (o.kv_heads == 0) o.kv_heads = o.heads;
  if (o.intermediate == 0) o.intermediate = 4 * o.hidden;
  if (o.hidden % o.heads != 0 || o.heads % o.kv_heads != 0)
    user_error("--heads must divide --hidden, and --kv-heads must divide --heads");
  const auto tokenizer = tokenizer_to_copy(o);
  std::filesystem::create_directories(o.out);
  const auto specs = all_specs(o, o.dtype == "bf16" ? DType::kBF16 : DType::kF32);
  CheckpointWriter writer(o.out, specs, {}, o.shard_mb * 1'000'000);
  uint64_t bytes = 0;
  for (const TensorSpec& spec : specs) {
    const Tensor tensor = random_tensor(spec, o.seed);
    bytes += tensor.byte_size();
    writer.write(spec.name, tensor);
  }
  write_config(o);
  for (const auto& from : tokenizer)
    write_file_atomically(std::filesystem::path(o.out) / from.filename(), read_file(from, 256u << 20));
  writer.commit();
  fmt::print("{}: {} tensors, {} bytes\n", o.out, specs.size(), bytes);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  CLI::App app("Writes a Llama-shaped Hugging Face checkpoint of random weights");
  espalier::Options o;
  app.add_option("--hidden", o.hidden)->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("--layers", o.layers)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--heads", o.heads)->check(CLI::Range(1, 1 << 16))->capture_default_str();
  app.add_option("--kv-heads", o.kv_heads, "as many as --heads unless given")->check(CLI::Range(1, 1 << 16));
  app.add_option("--intermediate", o.intermediate, "4 times --hidden unless given")->check(CLI::Range(1, 1 << 20));
  app.add_option("--vocab", o.vocab)->check(CLI::Range(3, 1 << 24))->capture_default_str();
  app.add_option("--context", o.context)->check(CLI::Range(1, 1 << 24))->capture_default_str();
  app.add_option("--dtype", o.dtype)->check(CLI::IsMember({"bf16", "fp32"}))->capture_default_str();
  app.add_option("--shard-mb", o.shard_mb)->check(CLI::Range(1, 1 << 24))->capture_default_str();
  app.add_option("--seed", o.seed)->capture_default_str();
  app.add_flag("--tied", o.tied, "one matrix for embedding and output");
  app.add_option("--tokenizer", o.tokenizer, "directory to copy tokenizer files from")->check(CLI::ExistingDirectory);
  app.add_option("--out", o.out)->required();
  CLI11_PARSE(app, argc, argv);
  const auto fail = [](const std::exception& error) {
    std::fprintf(stderr, "make_random_checkpoint: error: %s\n", error.what());
    return 2;
  };
  try {
    espalier::make(o);
    return 0;
  } catch (const espalier::UserError& error) {
    return fail(error);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(error);
  }
}
