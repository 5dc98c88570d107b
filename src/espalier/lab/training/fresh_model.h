// A Llama-shaped model with initial weights, as a Hugging Face directory.
#pragma once

#include <cstdint>
#include <filesystem>

#include "espalier/graph/graph.h"

namespace espalier {

struct LlamaShape {
  int64_t vocab = 2048, hidden = 128, layers = 8, heads = 8, kv_heads = 4, ffn = 384, context = 256;
  double deviation = 0.02;  // of the matrices' initial values
};

// Normal(0, deviation) for matrices, with the projections back to the residual stream divided by sqrt(2 · layers) (GPT-2's
// initialisation); ones for norms. Tied embeddings, fp32.
void write_fresh_llama(const LlamaShape& shape, uint64_t seed, const std::filesystem::path& directory);

// The same initialisation for any decoder: the Linear layers whose outputs are added to the residual stream have the
// smaller deviation, biases are 0. Each parameter has a stream of its own, by its name.
void initialise_decoder(Graph& graph, uint64_t seed);

}  // namespace espalier
