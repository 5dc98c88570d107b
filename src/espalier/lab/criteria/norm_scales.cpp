#include "espalier/lab/criteria/norm_scales.h"

#include <algorithm>

#include "espalier/core/ranking.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

at::Tensor magnitudes(const at::Tensor& gamma) { return gamma.detach().abs().to(at::kFloat).contiguous(); }

at::Tensor only(const std::vector<int64_t>& kept, int64_t size) {
  at::Tensor keep = at::zeros({size}, at::kBool);
  for (int64_t index : kept) keep[index] = true;
  return keep;
}

}  // namespace

at::Tensor penalty_gradient(const at::Tensor& gamma, ScalePenalty penalty, double s, double lr, const at::Tensor& penalised) {
  at::Tensor gradient = gamma.sign() * s;
  if (penalty == ScalePenalty::kL2) gradient = gamma * s;
  if (penalty == ScalePenalty::kSmoothL1) gradient = at::where(gamma.abs() < lr * s, gamma * s, gradient);
  return penalised.defined() ? gradient * penalised : gradient;
}

SlimmingCut slimming_cut(const std::vector<at::Tensor>& gammas, double share) {
  check_share(share, "network slimming");
  std::vector<at::Tensor> sizes;
  for (const auto& gamma : gammas) sizes.push_back(magnitudes(gamma));
  const at::Tensor all = at::cat(sizes);
  check_no_nan(float_span(all), "norm scales");
  Cut cut = find_cut(float_span(all), removal_count(share, all.numel()));
  SlimmingCut result;
  for (const auto& size : sizes) {
    at::Tensor keep = at::ones(size.sizes(), at::kBool);
    apply_cut(cut, float_span(size), mask_bytes(keep));
    if (!keep.any().item<bool>()) {
      keep = only(select_largest(float_span(size), 1), size.numel());
      ++result.rescued;
    }
    result.keep.push_back(keep);
  }
  return result;
}

at::Tensor keep_above(const at::Tensor& gamma, double threshold, int64_t least) {
  const at::Tensor keep = gamma.detach().abs().to(at::kDouble) > threshold, size = magnitudes(gamma);
  if (keep.sum().item<int64_t>() >= least) return keep;
  return only(select_largest(float_span(size), std::min(least, size.numel())), size.numel());
}

double energy_threshold(const at::Tensor& gamma, double energy) {
  constexpr double kFloor = 1e-18, kAllSmall = 1e-3;
  const at::Tensor sorted = std::get<0>(gamma.detach().abs().to(at::kDouble).clamp_min(kFloor).sort());
  const std::vector<double> v(sorted.data_ptr<double>(), sorted.data_ptr<double>() + sorted.numel());
  if (v.back() < kAllSmall) return 1;
  double total = 0, sum = 0;
  for (double value : v) total += value * value;
  for (size_t i = 0; i < v.size(); ++i) {
    sum += v[i] * v[i];
    if (sum / total > energy) return i == 0 ? 0 : (v[i - 1] + v[i]) / 2;
  }
  return 0;
}

at::Tensor vote_on_stage(const std::vector<at::Tensor>& keeps) {
  at::Tensor votes = at::zeros(keeps.at(0).sizes(), at::kLong);
  int64_t least = votes.numel();
  for (const auto& keep : keeps) {
    const at::Tensor pruned = keep.logical_not();
    votes += pruned;
    least = std::min(least, pruned.sum().item<int64_t>());
  }
  for (auto i = std::ssize(keeps);; --i) {
    const at::Tensor pruned = votes >= i;
    if (i == 1 || pruned.sum().item<int64_t>() >= least) return pruned.logical_not();
  }
}

}  // namespace espalier
