// Scales of norms as a criterion, as in network slimming (2017): a channel whose scale is driven to zero by a penalty can be
// cut. Masks: bool, true: kept. Ranking is by |gamma|, the lower position goes first among equals.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace espalier {

enum class ScalePenalty { kL1, kL2, kSmoothL1 };

// What a penalty of strength s adds to the gradient of gamma, before the step: s sign(gamma), sign(0) = 0; L2: s gamma;
// smooth L1: s gamma where |gamma| < lr · s, else s sign(gamma). penalised: bool, which channels; undefined: all.
at::Tensor penalty_gradient(const at::Tensor& gamma, ScalePenalty penalty, double s, double lr, const at::Tensor& penalised = {});

// Network slimming's cut: one ranking of all layers' scales, of which floor(share · n) go. A layer that would lose all its
// channels keeps its largest (`rescued` of them did).
struct SlimmingCut {
  std::vector<at::Tensor> keep;
  int64_t rescued = 0;
};
SlimmingCut slimming_cut(const std::vector<at::Tensor>& gammas, double share);

// |gamma| > threshold; where fewer than `least` are, the `least` largest.
at::Tensor keep_above(const at::Tensor& gamma, double threshold, int64_t least = 1);

// A layer's own threshold (MaskSparsity's released code): between the scales that together hold `energy` of the sum of
// squares and the others; 0 where nothing is so small; 1, above every scale, where all are below 0.001.
double energy_threshold(const at::Tensor& gamma, double energy = 1e-4);

// One mask for layers that feed the same additions (MaskSparsity): of the channels that at least i layers would cut, for
// the largest i for which those are no fewer than the least that any of the layers cuts.
at::Tensor vote_on_stage(const std::vector<at::Tensor>& keeps);

}  // namespace espalier
