// A Llama-shaped model with initial weights, as a Hugging Face directory.
#pragma once

#include <cstdint>
#include <filesystem>

namespace espalier {

struct LlamaShape {
  int64_t vocab = 2048, hidden = 128, layers = 8, heads = 8, kv_heads = 4, ffn = 384, context = 256;
};

// Normal(0, 0.02) for matrices, with the projections back to the residual stream divided by sqrt(2 · layers) (GPT-2's
// initialisation); ones for norms. Tied embeddings, fp32.
void write_fresh_llama(const LlamaShape& shape, uint64_t seed, const std::filesystem::path& directory);

}  // namespace espalier
