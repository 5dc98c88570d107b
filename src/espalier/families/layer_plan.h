// The widths of each block, as a configuration states them. What the stock keys cannot say is described by one
// documented block of config.json:
//   "espalier": {"format": 1, "layers": [{"heads": 6, "kv_heads": 3, "ffn": 320}, {"heads": 0, "ffn": 352}, …]}
// heads 0: the block has no attention; ffn 0: it has no FFN. Optional in an entry: "head_size", where the family has no
// key for it (GPT-2 and OPT derive it from the hidden size, so models with fewer heads or a cut hidden size need it),
// and "attention_scale", where the family derives the scale from the block's index, which removing blocks changes.
// Stock loaders know nothing of this block: they read models whose blocks are alike and whose head size the stock keys
// tell. That is any uniform cut of neurons or layers; of heads or the hidden size in families with the key head_dim
// (Llama-like and Phi, as far as the loader's version heeds it), not in GPT-2 and OPT. Where norms follow the sums (OPT
// without do_layer_norm_before), a block whose branches were removed one by one keeps its norms and is none to them.
#pragma once

#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/graph/sublayers.h"

namespace espalier {

struct LayerPlan {
  int64_t heads = 0, kv_heads = 0, ffn = 0;
  int64_t head_size = 0;
  double attention_scale = 0;  // 0: as the family has it
};

// One plan a block: from the "espalier" block when the config has one, else `uniform` for each. UserError unless the KV
// heads divide the heads and, without the block, `uniform` has a head size.
std::vector<LayerPlan> read_layer_plans(const Json& config, int64_t layers, const LayerPlan& uniform,
                                        const std::string& where);

// Are all blocks complete and of one width?
bool is_uniform(const std::vector<BlockWidths>& widths);

// Names of the stock configuration keys of a family; an empty name: the family has no such key.
struct WidthKeys {
  std::string layers, heads, kv_heads, head_size, ffn, hidden;
};

// hidden / heads, 0 when it does not divide (then only the "espalier" block can tell).
int64_t derived_head_size(int64_t hidden, int64_t heads);

// Writes the graph's widths under `keys` and, where those cannot say it all, the "espalier" block (else removes it).
// The stock keys of a non-uniform model hold the first complete block's widths.
void write_widths(Json& config, const Graph& graph, const WidthKeys& keys, int64_t hidden);

// The "espalier" block's list of blocks, made from the graph if the config has none yet.
Json& layer_entries(Json& config, const Graph& graph);

}  // namespace espalier
