#include "espalier/core/error.h"
#include "espalier/lab/criteria/beta_rank.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::beta_rank_cases {
namespace {

Tensors scores(const Case& c) {
  const at::Tensor x = c.input("x").to(at::kDouble), weight = c.input("W").to(at::kDouble);
  const std::vector<int64_t> strides(2, c.integer_or("stride", 1)), pads(2, c.integer_or("padding", 0));
  const at::Tensor y = at::conv2d(x, weight, {}, strides, pads);
  const ConvWindow window{{weight.size(2), weight.size(3)}, strides, {1, 1}, {pads[0], pads[1], pads[0], pads[1]}};
  const BetaScores beta = beta_rank(x, y, weight, window, c.number_or("eps", 1e-12), c.name);
  return {{"raw", beta.raw},
          {"rank", beta.rank},
          {"kept", at::tensor(highest_filters(beta.rank, c.integer("keep")), at::kLong)},
          {"positions_used", scalar(beta.positions_used)}};
}

Tensors stability(const Case& c) {
  std::vector<at::Tensor> selected;
  while (c.has_input(fmt::format("selected_method{}", selected.size() + 1)))
    selected.push_back(c.input(fmt::format("selected_method{}", selected.size() + 1)));
  return {{"sf", at::tensor(stability_fractions(selected), at::kDouble)}};
}

const Register kRegister("30-beta-rank", {{"pad1", scores}, {"stride2", scores}, {"pointwise", scores}, {"stability_fraction", stability}});

}  // namespace
}  // namespace espalier::golden::beta_rank_cases
