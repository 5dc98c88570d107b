// From scores to boolean masks (true = kept): the tensor face of core/ranking.h. Every mask removes exactly
// k = floor(s * n + 1e-9) entries of each comparison group, the lowest scores, lowest index first among equals.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace espalier {

// n highest scores kept in every run of m consecutive inputs of a row.
struct NOfM {
  int64_t n = 2, m = 4;
};

enum class Scope { kLayer, kRow };  // the comparison group: the whole matrix, or one output row

// What to remove: a share of each comparison group, in single weights or blocks of a row, or N:M.
struct Pattern {
  double sparsity = 0.5;
  Scope scope = Scope::kRow;
  std::optional<NOfM> n_of_m = std::nullopt;  // when set, sparsity, scope and block do not count
  int64_t block = 1;  // this many consecutive inputs of a row go or stay together, ranked by the sum of their scores
};

// UserError naming `where` unless 0 <= sparsity < 1 and block divides inputs, or 1 <= n < m and m divides inputs.
void check_pattern(const Pattern& pattern, int64_t inputs, const std::string& where);

// A weight as contiguous fp32 [out, in]; convolution weights become [out, in * kh * kw].
at::Tensor as_matrix(const at::Tensor& weight);

// Scores of a matrix made row by row, so that they never need to be in memory together. fill(r, out) may be called from
// several threads at once.
struct RowScores {
  int64_t rows = 0, cols = 0;
  std::function<void(int64_t row, std::span<float> out)> fill;
};

// Mask [rows, cols]; `name` is the layer, for errors (NaN scores, bad pattern).
at::Tensor keep_mask(const RowScores& scores, const Pattern& pattern, const std::string& name);

// The same for scores that exist: any shape for scope layer, otherwise [rows, cols]; the mask has the scores' shape.
at::Tensor keep_mask(const at::Tensor& scores, const Pattern& pattern, const std::string& name);

// The sums of `block` consecutive scores of each row: [rows, cols] to [rows, cols / block]. And the mask of such sums as one
// of the scores.
at::Tensor block_sums(const at::Tensor& scores, int64_t block);
at::Tensor of_blocks(const at::Tensor& mask, int64_t block);

// Exactly `remove` lowest of a flat list of units: heads, neurons, channels, layers.
at::Tensor keep_units(const at::Tensor& scores, int64_t remove, const std::string& name);

// Positions by ascending score, int64 [n]: the order of removal.
at::Tensor removal_order(const at::Tensor& scores, const std::string& name);

// The elements of a contiguous fp32 tensor, or of a contiguous mask, which must outlive the span.
std::span<const float> float_span(const at::Tensor& contiguous_fp32);
std::span<uint8_t> mask_bytes(const at::Tensor& contiguous_mask);

}  // namespace espalier
