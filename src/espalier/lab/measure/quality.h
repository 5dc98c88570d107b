// How good is a language model on a text, and how far is it from its dense original.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "espalier/engine/text_quality.h"
#include "espalier/graph/graph.h"
#include "espalier/lab/measure/block_stream.h"

namespace espalier {

struct Quality {
  Estimate perplexity;     // exp of the mean negative log-likelihood in nats a token
  double nats_per_token = 0;
  int64_t tokens = 0;      // scored
  double seconds = 0;
  std::optional<double> kl;         // mean over positions of KL(dense ‖ this), nats
  std::optional<double> agreement;  // share of positions where both put the same token first
};

// Of positions whose logits [n, vocabulary] are there.
class QualitySums {
 public:
  void score(size_t window, const at::Tensor& logits, const at::Tensor& targets);  // targets [n]
  void compare(const at::Tensor& logits, const at::Tensor& dense);
  Quality quality() const;

 private:
  NatsSums nats_;
  double kl_ = 0;
  int64_t agreeing_ = 0, compared_ = 0;
};

// Perplexity over windows made by windows_of with this stride; against: the dense model on the same windows. observer: of
// the graph's blocks, not of the dense model's.
Quality measure_quality(const Graph& graph, const TokenSequences& windows, int64_t length, int64_t stride,
                        const Graph* against = nullptr, const Observer* observer = nullptr);

}  // namespace espalier
