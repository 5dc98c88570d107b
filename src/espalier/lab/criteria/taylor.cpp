#include "espalier/lab/criteria/taylor.h"

#include "espalier/core/choice.h"
#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, Taylor> kTaylors[] = {{"param_first", Taylor::kParamFirst},
                                                       {"param_second", Taylor::kParamSecond},
                                                       {"param_mix", Taylor::kParamMix},
                                                       {"vector", Taylor::kVector}};
constexpr std::pair<const char*, GroupReduction> kReductions[] = {{"sum", GroupReduction::kSum},
                                                                  {"prod", GroupReduction::kProduct},
                                                                  {"max", GroupReduction::kMax},
                                                                  {"last", GroupReduction::kLast}};

}  // namespace

void TaylorStatistics::add(const at::Tensor& sample_gradient) {
  const auto gradient = sample_gradient.detach().to(at::kDouble);
  if (!at::isfinite(gradient).all().item<bool>())
    user_error("{}: the gradient of sample {} is not finite", name_, samples_);
  if (samples_ == 0) {
    sum_ = at::zeros_like(gradient);
    squares_ = at::zeros_like(gradient);
  }
  sum_.add_(gradient);
  squares_.addcmul_(gradient, gradient);
  ++samples_;
}

at::Tensor TaylorStatistics::mean(const at::Tensor& sum) const {
  if (samples_ == 0) user_error("{}: the calibration set is empty", name_);
  return (sum / static_cast<double>(samples_)).to(at::kFloat);
}

at::Tensor TaylorStatistics::gradient() const { return mean(sum_); }
at::Tensor TaylorStatistics::fisher() const { return mean(squares_); }

Taylor taylor_from_name(const std::string& name) { return choice_from_name("taylor", name, kTaylors); }

at::Tensor taylor_importance(Taylor kind, const at::Tensor& weight, const TaylorStatistics& statistics) {
  const auto w = weight.detach().to(at::kFloat);
  switch (kind) {
    case Taylor::kParamFirst:
      return (statistics.gradient() * w).abs();
    case Taylor::kParamSecond:
      return (w.square() * statistics.fisher()).abs();
    case Taylor::kParamMix:
      return (statistics.gradient() * w - 0.5 * statistics.fisher() * w.square()).abs();
    case Taylor::kVector:
      return (statistics.gradient() * w).reshape({w.size(0), -1}).sum(1).abs();
  }
  ESP_ASSERT(false);
}

at::Tensor unit_importance(const at::Tensor& elements, int64_t axis, int64_t unit_size) {
  ESP_ASSERT(unit_size > 0 && elements.size(axis) % unit_size == 0, "{} by {}", elements.size(axis), unit_size);
  const auto first = elements.movedim(axis, 0);
  return first.reshape({first.size(0) / unit_size, -1}).sum(1);
}

GroupReduction group_reduction_from_name(const std::string& name) {
  return choice_from_name("group reduction", name, kReductions);
}

at::Tensor reduce_group(GroupReduction reduction, const std::vector<at::Tensor>& members) {
  ESP_ASSERT(!members.empty());
  const auto stacked = at::stack(members);
  switch (reduction) {
    case GroupReduction::kSum:
      return stacked.sum(0);
    case GroupReduction::kProduct:
      return stacked.prod(0);
    case GroupReduction::kMax:
      return stacked.amax(0);
    case GroupReduction::kLast:
      return members.back();
  }
  ESP_ASSERT(false);
}

}  // namespace espalier
