#include "espalier/core/error.h"
#include "espalier/lab/criteria/norm_scales.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::masksparsity_cases {
namespace {

Tensors penalties(const Case& c) {
  const at::Tensor gamma = c.input("gamma").to(at::kDouble), grad = c.input("grad").to(at::kDouble);
  const double s = c.number("s"), lr = c.number("lr");
  const at::Tensor keep = keep_above(gamma, c.number("threshold"), c.integer("min_channels")), pruned = keep.logical_not();
  const at::Tensor masked = grad + penalty_gradient(gamma, ScalePenalty::kL1, s, lr, pruned);
  return {{"keep", keep},
          {"grad_masked_l1", masked},
          {"grad_global_l1", grad + penalty_gradient(gamma, ScalePenalty::kL1, s, lr)},
          {"grad_smooth_l1", grad + penalty_gradient(gamma, ScalePenalty::kSmoothL1, s, lr, pruned)},
          {"grad_masked_l2", grad + penalty_gradient(gamma, ScalePenalty::kL2, s, lr, pruned)},
          {"gamma_after_sgd", gamma - lr * masked}};
}

Tensors minimum(const Case& c) {
  return {{"keep", keep_above(c.input("gamma").to(at::kDouble), c.number("threshold"), c.integer("min_channels"))}};
}

Tensors energy(const Case& c) {
  return {{"threshold", at::scalar_tensor(energy_threshold(c.input("gamma"), c.number_or("energy", 1e-4)), at::kDouble)}};
}

Tensors vote(const Case& c) {
  std::vector<at::Tensor> keeps;
  while (c.has_input(fmt::format("keep{}", keeps.size()))) keeps.push_back(c.input(fmt::format("keep{}", keeps.size())));
  return {{"keep", vote_on_stage(keeps)}};
}

const Register kRegister("33-masksparsity", {{"threshold_and_masked_l1", penalties},
                                             {"layer_would_vanish", minimum},
                                             {"ot_two_peaks", energy},
                                             {"ot_all_sparse", energy},
                                             {"residual_vote", vote}});

}  // namespace
}  // namespace espalier::golden::masksparsity_cases
