// Beta-Rank (2023): a filter's mean magnitude times the ratio of the spread of what comes out of it to the spread of what
// goes in, summed over the output positions of one batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

// A convolution's window; each list has an entry a spatial dim, `pads` all begins, then all ends.
struct ConvWindow {
  std::vector<int64_t> kernel, strides, dilations, pads;
};

struct BetaScores {
  at::Tensor raw, rank;        // fp64 [filters]; rank: raw in [0, 1] inside the layer, zeros when all are equal
  int64_t positions_used = 0;  // output positions whose input varies
};

// x [n, C, …] is the layer's input, y [n, O, …] its output before the norm, weight [O, C / group, kernel …].
//   b(position) = population standard deviation over all elements of the input patch, zero padding included
//   a_k(position) = population standard deviation of y_k over the batch;  raw_k = mean|W_k| · sum of a_k / b
// Positions with b <= eps are skipped. With groups a filter's patch holds its own group's channels. UserError naming the
// layer: fewer than two images, all positions skipped, a value that is not finite.
BetaScores beta_rank(const at::Tensor& x, const at::Tensor& y, const at::Tensor& weight, const ConvWindow& window,
                     double eps, const std::string& name);

// HRank (2020), the comparison: of each channel of y [n, O, h, w] (behind the activation) the mean rank over the batch.
at::Tensor mean_map_rank(const at::Tensor& y);

// mean |W_k| of every filter, fp64 [O]: the L1 ranking.
at::Tensor mean_filter_magnitude(const at::Tensor& weight);

// Indices of the `keep` highest scores, ascending; among equal scores the higher index is kept.
std::vector<int64_t> highest_filters(const at::Tensor& scores, int64_t keep);

// Of several methods: |union of the filters that it selected over its repeats| / |union over all methods|. Each entry is
// int64 [repeats, selected]. Lower: more stable.
std::vector<double> stability_fractions(const std::vector<at::Tensor>& selected);

}  // namespace espalier
