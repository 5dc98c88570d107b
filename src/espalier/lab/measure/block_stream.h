// Streams sequences through a decoder block by block: only one block's weights are in memory, so models larger than
// memory can be calibrated, pruned and evaluated. Hidden states can be saved and loaded between blocks.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "espalier/engine/text_quality.h"
#include "espalier/lab/interpreter/interpreter.h"

namespace espalier {

class BlockStream {
 public:
  // Consecutive sequences of equal length run together, at most batch_tokens tokens at a time; 0: each sequence alone.
  BlockStream(const Graph& graph, const TokenSequences& sequences, int64_t batch_tokens = 4096);

  int next_block() const { return next_block_; }
  bool done() const { return next_block_ >= graph_.block_count; }
  size_t batch_count() const { return hidden_.size(); }
  // [batch, tokens, width] entering the next block, a tensor a batch.
  const std::vector<at::Tensor>& hidden() const { return hidden_; }

  // Runs the next block on every batch for the observer's sake; nothing moves on.
  void observe(const Observer& observer, const std::function<void(size_t batch)>& before_batch = nullptr);
  // The same, and the outputs become the next block's inputs. Non-finite outputs: UserError naming the block.
  void advance(const Observer* observer = nullptr, const std::function<void(size_t batch)>& before_batch = nullptr);
  // After the last block: logits [batch, count, vocab] of some positions; all of them at once can be too many to hold.
  at::Tensor logits(size_t batch, int64_t first_position, int64_t count);

  // The block's weights changed in the graph: forget the fp32 copies.
  void forget_weights() { weights_.release_all(); }
  // Keep every block's fp32 weights instead of dropping them after the block (small models, many passes).
  void keep_weights(bool keep) { keep_weights_ = keep; }

  void save(const std::filesystem::path& path) const;
  void load(const std::filesystem::path& path, int next_block);

 private:
  at::Tensor run_block(size_t batch, const Observer* observer);

  const Graph& graph_;
  Weights weights_;
  Interpreter interpreter_;
  int next_block_ = 0;
  bool keep_weights_ = false;
  std::vector<at::Tensor> hidden_;
};

// Sequences cut into groups whose hidden states stay below a fixed number of bytes.
std::vector<TokenSequences> group_by_memory(const Graph& graph, const TokenSequences& sequences, uint64_t bytes);

}  // namespace espalier
