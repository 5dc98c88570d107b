#include "espalier/lab/criteria/activating.h"

#include <cmath>

#include "espalier/core/choice.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, ActivatingSign> kSigns[] = {{"negative", ActivatingSign::kNegative}, {"any", ActivatingSign::kAny}};
constexpr std::pair<const char*, ActivatingMetric> kMetrics[] = {
    {"movement", ActivatingMetric::kMovement}, {"magnitude", ActivatingMetric::kMagnitude}, {"random", ActivatingMetric::kRandom}};

at::Tensor random_tensor(at::IntArrayRef shape, Rng& rng) {
  at::Tensor scores = at::empty(shape, at::kDouble);
  auto* values = scores.data_ptr<double>();
  for (int64_t i = 0; i < scores.numel(); ++i) values[i] = rng.uniform();
  return scores;
}

}  // namespace

ActivatingSign activating_sign(const std::string& where, const std::string& name) { return choice_from_name(where, name, kSigns); }
ActivatingMetric activating_metric(const std::string& where, const std::string& name) { return choice_from_name(where, name, kMetrics); }

at::Tensor weight_movement(const at::Tensor& end, const at::Tensor& start) {
  return (end.detach().to(at::kDouble) - start.detach().to(at::kDouble)).abs();
}

int64_t remove_holding_down(const LayerTensors& end, const LayerTensors& start, const LayerTensors& masks, int64_t count, const ActivatingChoice& choice,
                            Rng& rng, const std::string& where) {
  ESP_ASSERT(end.size() == start.size());
  LayerTensors scores, candidates;
  for (size_t l = 0; l < end.size(); ++l) {
    candidates.push_back(choice.sign == ActivatingSign::kNegative ? end[l].detach() < 0 : at::ones(end[l].sizes(), at::kBool));
    switch (choice.metric) {
      case ActivatingMetric::kMovement: scores.push_back(weight_movement(end[l], start[l])); break;
      case ActivatingMetric::kMagnitude: scores.push_back(end[l].detach().abs()); break;
      case ActivatingMetric::kRandom: scores.push_back(random_tensor(end[l].sizes(), rng)); break;
    }
  }
  return remove_lowest_of(scores, masks, candidates, count, where);
}

int64_t percent_of(int64_t n, double percent) { return static_cast<int64_t>(std::floor(static_cast<double>(n) * percent / 100 + 1e-9)); }

}  // namespace espalier
