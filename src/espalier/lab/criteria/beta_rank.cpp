#include "espalier/lab/criteria/beta_rank.h"

#include <algorithm>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

struct Spread {
  at::Tensor mean, variance;  // fp64 [groups, h, w], over batch and channels of one group at every pixel
};

Spread pixel_spread(const at::Tensor& x, int64_t groups) {
  const at::Tensor grouped = x.to(at::kDouble).reshape({x.size(0), groups, -1, x.size(2), x.size(3)}).transpose(0, 1).flatten(1, 2);
  const auto [variance, mean] = at::var_mean(grouped, std::vector<int64_t>{1}, /*unbiased=*/false);
  return {mean, variance};
}

// [groups, kernel pixels, positions] of a map [groups, h, w], zeros outside.
at::Tensor patches(const at::Tensor& map, const ConvWindow& w) {
  const at::Tensor padded = at::constant_pad_nd(map, {w.pads[1], w.pads[3], w.pads[0], w.pads[2]}, 0);
  return at::im2col(padded.unsqueeze(1), w.kernel, w.dilations, {0, 0}, w.strides);
}

// Standard deviation over all elements of every patch, [groups, positions]: from the spread at its pixels (Chan's
// formula), so that a constant patch gives 0 and not the rounding of a difference of squares.
at::Tensor patch_deviation(const at::Tensor& x, int64_t groups, const ConvWindow& window) {
  const Spread pixels = pixel_spread(x, groups);
  const at::Tensor between = at::var(patches(pixels.mean, window), std::vector<int64_t>{1}, /*unbiased=*/false);
  return (patches(pixels.variance, window).mean(1) + between).sqrt();
}

// A 1-D convolution as a 2-D one of height 1.
ConvWindow with_height(ConvWindow w) {
  if (w.kernel.size() == 2) return w;
  for (auto* list : {&w.kernel, &w.strides, &w.dilations}) list->insert(list->begin(), 1);
  w.pads = {0, w.pads[0], 0, w.pads[1]};
  return w;
}
at::Tensor with_height(const at::Tensor& x) { return x.dim() == 3 ? x.unsqueeze(2) : x; }

at::Tensor normalised(const at::Tensor& raw) {
  const at::Tensor low = raw.min(), range = raw.max() - low;
  return range.item<double>() > 0 ? (raw - low) / range : at::zeros_like(raw);
}

std::set<int64_t> union_of(const at::Tensor& selected) {
  const at::Tensor flat = selected.to(at::kLong).contiguous();
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

}  // namespace

BetaScores beta_rank(const at::Tensor& x, const at::Tensor& y, const at::Tensor& weight, const ConvWindow& window,
                     double eps, const std::string& name) {
  if (x.size(0) < 2)
    throw UserError(name, "images in the batch", "at least 2, because the spread over the batch is what counts", fmt::format("{}", x.size(0)));
  const int64_t groups = x.size(1) / weight.size(1), filters = weight.size(0);
  const at::Tensor b = patch_deviation(with_height(x), groups, with_height(window));  // [groups, positions]
  const at::Tensor a = at::std(y.to(at::kDouble).flatten(2), std::vector<int64_t>{0}, /*unbiased=*/false);  // [filters, positions]
  if (!at::isfinite(a.sum() + b.sum()).item<bool>()) user_error("{}: the layer's inputs or outputs are not finite", name);
  const at::Tensor used = b > eps;
  const int64_t positions = used.any(0).sum().item<int64_t>();
  if (positions == 0) user_error("{}: every output position sees a constant input, so no filter of the layer can be ranked", name);
  const at::Tensor ratio = at::where(used.unsqueeze(1), a.view({groups, filters / groups, -1}) / b.unsqueeze(1), at::zeros({1}, at::kDouble));
  const at::Tensor raw = mean_filter_magnitude(weight) * ratio.sum(2).flatten();
  return {raw, normalised(raw), positions};
}

at::Tensor mean_map_rank(const at::Tensor& y) {
  return at::linalg_matrix_rank(with_height(y).to(at::kFloat), c10::optional<double>(), c10::optional<double>()).to(at::kDouble).mean(0);
}

at::Tensor mean_filter_magnitude(const at::Tensor& weight) { return weight.to(at::kDouble).abs().flatten(1).mean(1); }

std::vector<int64_t> highest_filters(const at::Tensor& scores, int64_t keep) {
  const at::Tensor wide = scores.to(at::kDouble).contiguous();
  const auto order = ascending_order(std::span<const double>(wide.data_ptr<double>(), static_cast<size_t>(wide.numel())));
  ESP_ASSERT(keep >= 0 && keep <= std::ssize(order), "{} of {}", keep, order.size());
  std::vector<int64_t> kept(order.end() - keep, order.end());
  std::sort(kept.begin(), kept.end());
  return kept;
}

std::vector<double> stability_fractions(const std::vector<at::Tensor>& selected) {
  std::set<int64_t> all;
  std::vector<double> fractions;
  for (const auto& method : selected) all.merge(union_of(method));
  if (all.empty()) user_error("stability fraction: no method selected a filter");
  for (const auto& method : selected)
    fractions.push_back(static_cast<double>(union_of(method).size()) / static_cast<double>(all.size()));
  return fractions;
}

}  // namespace espalier
