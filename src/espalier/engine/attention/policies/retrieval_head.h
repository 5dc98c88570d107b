// SpeContext's retrieval head: a language model of one layer cut down to what gives its queries and keys, from the tokens
// alone. Either the model's own first layer, or one that `espalier analyze retrieval-head` distilled, in a file beside the model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "espalier/engine/attention/rotary_rows.h"
#include "espalier/engine/attention/sequence.h"
#include "espalier/engine/kernels.h"
#include "espalier/families/family.h"

namespace espalier {

constexpr const char* kRetrievalHeadFile = "retrieval-head.safetensors";

// Where queries and keys of a forward's tokens come from.
class RetrievalRows {
 public:
  virtual ~RetrievalRows() = default;
  virtual uint64_t bytes() const = 0;  // of weights
  virtual void begin(std::span<const int32_t> ids, int64_t position) = 0;
  // All ranks together, with barriers of its own; a last one is the caller's. Queries are wanted of tokens from `from` on.
  virtual void project(const TeamRank& team, int64_t from) = 0;
  // Of token t of the forward, after project(): [heads, head_size] and [kv_heads, head_size], rotated; queries scaled.
  virtual const float* queries(int64_t t) const = 0;
  virtual const float* keys(int64_t t) const = 0;
};

// Tensors of the file; biases and norms of heads may be missing.
struct RetrievalWeights {
  Tensor embedding;                // of the model, not in the file
  Tensor norm, norm_bias, q, k, q_bias, k_bias, q_norm, k_norm;
  bool rms = true;                 // the input's norm; else of a mean too
  float epsilon = 0, head_epsilon = 0;
  int64_t heads = 0, kv_heads = 0, head_size = 0;
  int64_t trained = 0;             // tokens of the texts that it was distilled on; 0: the model's context
};

// Which parameters of the graph hold the weights (embedding included): what its first attention's queries and keys are
// made of. UserError unless these are projections, with or without a norm of each head, of the normalised embedding.
struct RetrievalNodes {
  const Node *embedding, *norm, *q, *k, *q_norm, *k_norm, *attention;  // norms of heads: null where there are none
};
RetrievalNodes retrieval_nodes(const Graph& graph, const std::string& where);
RetrievalWeights weights_of(const Model& model, const Graph& graph);

// UserError naming the file on a missing tensor, other sizes than the model's, another model's embedding, NaN.
RetrievalWeights read_retrieval_head(const std::filesystem::path& path, const Model& model);
void write_retrieval_head(const std::filesystem::path& path, const RetrievalWeights& weights);

class RetrievalHead : public RetrievalRows {
 public:
  // layer: the model's own, for rotation and scale. Beyond the trained length, up to `capacity`, positions are scaled as YaRN does.
  RetrievalHead(RetrievalWeights weights, const AttentionLayer& layer, int64_t capacity);

  uint64_t bytes() const override;
  void begin(std::span<const int32_t> ids, int64_t position) override;
  void project(const TeamRank& team, int64_t from) override;
  const float* queries(int64_t t) const override { return q_rows_.data() + t * q_.rows; }
  const float* keys(int64_t t) const override { return k_rows_.data() + t * k_.rows; }

 private:
  void embed(int64_t t);
  void multiply(const WeightMatrix& matrix, MatVec product, int64_t from, std::vector<float>& rows, const TeamRank& team) const;
  void finish(std::vector<float>& rows, int64_t width, int64_t t, const std::vector<float>& bias, const std::vector<float>& norm, float scale) const;

  RetrievalWeights weights_;
  WeightMatrix q_, k_;
  MatVec q_product_, k_product_;
  std::vector<float> norm_, norm_bias_, q_bias_, k_bias_, q_norm_, k_norm_;
  AttentionLayer layer_;
  RotaryRows rotation_;
  const VectorKernels& kernels_;
  int64_t stride_;
  std::span<const int32_t> ids_;
  std::vector<float> x_, q_rows_, k_rows_;
};

// Frequencies for `factor` times as many positions as the `trained` ones (YaRN: low ones divided by the factor, high ones as
// they are, a ramp between), and the scale of cosine and sine.
void extend_rotation(AttentionLayer& layer, int64_t trained, double factor);

}  // namespace espalier
