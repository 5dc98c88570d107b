// "Remove and measure" for branches of the residual stream: runs a model with some sub-layers skipped, without changing
// its graph, and measures how far its logits are from the intact model's.
#pragma once

#include <string>
#include <vector>

#include "espalier/graph/sublayers.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/block_stream.h"
#include "espalier/lab/measure/distance.h"

namespace espalier {

// What one candidate removes: one sub-layer, or both of a block.
struct AblationCandidate {
  int block;
  std::string name;                // "attn_3", "ffn_3", "block_3"
  std::vector<size_t> sublayers;  // indices in the list of sub-layers
};

// Keeps the model's weights in fp32, the intact logits of all sequences, and with `prefix_cache` the residual stream at
// every block input of the model with the accepted removals: a candidate of block b then only runs blocks >= b. The
// distances are bit-equal either way. The arguments must outlive the object.
class SublayerAblation {
 public:
  SublayerAblation(const Graph& graph, const std::vector<SubLayer>& sublayers, const std::vector<AblationCandidate>& candidates,
                   const TokenSequences& sequences, Metric metric, bool prefix_cache);

  // With these candidates removed, of which all but the last are the accepted ones. A distance that is certain to exceed
  // abandon_above may be replaced by a lower bound that does.
  double distance(const std::vector<int>& removed, double abandon_above);

  // The accepted removals from now on.
  void accept(const std::vector<int>& removed);

  int64_t blocks_run() const { return blocks_run_; }

 private:
  int64_t terms() const;
  int first_block(int candidate) const { return cache_ ? candidates_[static_cast<size_t>(candidate)].block : 0; }
  void set_skipped(const std::vector<int>& removed);
  void run_block(Environment& values, int block);
  at::Tensor logits(size_t sequence, int first);
  void store_streams(size_t sequence, int first);

  const Graph& graph_;
  const std::vector<SubLayer>& sublayers_;
  const std::vector<AblationCandidate>& candidates_;
  Metric metric_;
  bool cache_;
  Weights weights_;
  Interpreter interpreter_;
  std::vector<bool> skipped_;  // by sub-layer
  std::vector<int> accepted_;
  std::vector<at::Tensor> ids_, reference_;
  std::vector<std::vector<at::Tensor>> streams_;  // [sequence][block]: what enters the block
  int64_t positions_ = 0, scored_ = 0, blocks_run_ = 0;
};

}  // namespace espalier
