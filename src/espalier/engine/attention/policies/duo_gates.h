// DuoAttention's gates: a number for each layer and KV head that says how much the head needs of the whole context. They
// lie in a file beside the model, made by `espalier analyze duo-gates`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/engine/attention/sequence.h"

namespace espalier {

constexpr const char* kDuoGatesFile = "duo-gates.json";

using HeadGates = std::vector<std::vector<float>>;    // [layer][KV head], in [0, 1]
using HeadChoice = std::vector<std::vector<uint8_t>>;  // likewise; 1: keeps everything

struct DuoGates {
  HeadGates alpha;
  std::optional<int64_t> sink, recent;  // what the file says they are meant for
};

// A JSON object {"gates": [[…], …], "sink", "recent"}, or (.tsv) a line for each layer with numbers between tabs. Values a
// little outside of [0, 1], as optimisers leave them, are moved in. UserError naming the file on another shape than that of
// the layers, and on what is no number.
DuoGates read_duo_gates(const std::filesystem::path& path, std::span<const AttentionLayer> layers);
Json duo_gates_to_json(const DuoGates& gates);

// Which heads keep everything when `sparsity` of all do not: n - ceil(sparsity · (n - 1)) with the largest gates, of equal
// ones the first; none from 1 on.
HeadChoice full_heads_by_sparsity(const HeadGates& alpha, double sparsity);
HeadChoice full_heads_by_threshold(const HeadGates& alpha, double threshold);  // gates above it

}  // namespace espalier
