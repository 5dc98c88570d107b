// ShortGPT (2024): BI_i = 1 - mean over tokens of cos(h_i, h_(i+1)), h_i the residual stream that enters block i.
// The blocks of lowest influence go first, all at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

class BlockInfluence {
 public:
  explicit BlockInfluence(int64_t blocks) : sums_(blocks), tokens_(blocks) {}

  // What enters and what leaves the block, [..., d], for any number of tokens. A zero vector has cosine 0.
  void add(int64_t block, const at::Tensor& entering, const at::Tensor& leaving);

  // [blocks], fp64; UserError when a block has seen no token or a value is not finite.
  at::Tensor influence() const;

 private:
  std::vector<double> sums_;  // of cosines
  std::vector<int64_t> tokens_;
};

}  // namespace espalier
