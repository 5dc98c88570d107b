// 25 Consensus sub-networks with polarization regularization (2023): gates that look at their input while the network is
// trained, and are pushed to agree over all inputs until they are constants. Here the arithmetic of gates and penalties.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "espalier/core/rng.h"

namespace espalier {

// Pooled input of a block → ReLU layer → one logit a gate.
struct GateModule {
  at::Tensor w1, b1, w2, b2;  // [hidden, channels], [hidden], [gates, hidden], [gates]
  std::vector<at::Tensor> leaves() const { return {w1, b1, w2, b2}; }
};

// Leaves with gradients. w1 and w2 from He et al.'s normal, b1 = 0; gates begin open: b2 = 2. hidden 0: max(4, channels / 4).
GateModule make_gates(int64_t channels, int64_t gates, int64_t hidden, Rng rng);

at::Tensor pooled_input(const at::Tensor& x);  // [batch, channels, h, w] or [batch, tokens, channels] → [batch, channels], the mean
at::Tensor gate_logits(const GateModule& module, const at::Tensor& pooled);  // [batch, gates]

// 1 where sigmoid(logits) > 0.5, else 0. Backward the gradient passes to the sigmoid as it is (straight through), with
// logits clipped to [-8, 8], where the sigmoid is not yet flat.
at::Tensor hard_gates(const at::Tensor& logits);

// x [batch, channels, …] times gates [batch, channels] or [batch].
at::Tensor gated(const at::Tensor& x, const at::Tensor& gates);

struct GateWeights {
  double polar = 1, activity = 0, budget = 5;
  double target = 0.5;  // share of all cost
};

// Scalars. mean: [gates], over the batch. polar: mean of m (1 - m), 0 exactly when all samples agree. activity: mean of m.
// budget: squared distance of the share of cost that is open from the target. total: their sum by weight.
struct GatePenalties {
  at::Tensor mean, polar, activity, cost_share, budget, total;
};

// gates [batch, gates]: hard ones, or soft ones for the other reading of the mean. cost [gates].
GatePenalties gate_penalties(const at::Tensor& gates, const at::Tensor& cost, const GateWeights& weights);

// From mean gates: kept above the threshold (strictly), and how far the samples agree, mean of max(m, 1 - m).
struct GateChoice {
  at::Tensor kept;  // bool
  double consensus = 0, polar = 0;
};
GateChoice choose_by_gates(const at::Tensor& mean, double threshold = 0.5);

}  // namespace espalier
