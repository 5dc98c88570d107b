#include "espalier/lab/training/prunable.h"

#include <set>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/coupling.h"

namespace espalier {
namespace {

std::vector<std::string> patterns_of(const std::string& list) {
  std::vector<std::string> patterns;
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(';', begin), list.size());
    if (end > begin) patterns.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return patterns;
}

}  // namespace

PrunableWeights::PrunableWeights(Training& training, const std::string& exclude, const std::string& where) {
  const auto patterns = patterns_of(exclude);
  std::set<std::string> matched;
  for (const auto& name : training.prunable()) {
    bool excluded = training.is_frozen(name);
    for (const auto& pattern : patterns) {
      if (!matches_pattern(name, pattern)) continue;
      matched.insert(pattern);
      excluded = true;
    }
    if (excluded) continue;
    names_.push_back(name);
    total_ += training.value(name).numel();
  }
  for (const auto& pattern : patterns)
    if (!matched.count(pattern)) throw UserError(where, "option exclude", "patterns of prunable weights' names", "'" + printable(pattern) + "', which matches none");
  if (total_ == 0) user_error("{}: no weight can be pruned: none belongs to a Linear layer or a convolution, or all are excluded or frozen", where);
}

LayerTensors PrunableWeights::values(Training& training) const {
  LayerTensors tensors;
  for (const auto& name : names_) tensors.push_back(training.value(name).detach());
  return tensors;
}

LayerTensors PrunableWeights::copies(Training& training) const {
  LayerTensors tensors;
  for (const auto& value : values(training)) tensors.push_back(value.clone());
  return tensors;
}

LayerTensors PrunableWeights::magnitudes(Training& training) const {
  LayerTensors tensors;
  for (const auto& value : values(training)) tensors.push_back(value.abs());
  return tensors;
}

LayerTensors PrunableWeights::masks(Training& training) const {
  LayerTensors tensors;
  for (const auto& name : names_) {
    const at::Tensor mask = training.mask(name);
    tensors.push_back(mask.defined() ? mask.contiguous() : at::ones(training.value(name).sizes(), at::kBool));
  }
  return tensors;
}

void PrunableWeights::set_masks(Training& training, const LayerTensors& masks) const {
  ESP_ASSERT(masks.size() == names_.size());
  for (size_t l = 0; l < names_.size(); ++l) training.set_mask(names_[l], masks[l]);
}

std::string refuses_other_masks(const Plugin& other) { return dynamic_cast<const DecidesMasks*>(&other) ? "both decide which weights are removed" : ""; }

Json density_table(const std::vector<std::string>& names, const LayerTensors& masks) {
  Json table = Json::array();
  for (size_t l = 0; l < names.size(); ++l) {
    const int64_t size = masks[l].numel(), kept = alive_count({masks[l]});
    const double density = size ? static_cast<double>(kept) / static_cast<double>(size) : 1;
    table.push_back({{"layer", names[l]}, {"size", size}, {"kept", kept}, {"density", density}});
  }
  return table;
}

void put_tensors(StateStore& state, const std::string& name, const LayerTensors& tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) state.tensors[fmt::format("{}/{}", name, i)] = tensors[i];
}

LayerTensors get_tensors(const StateStore& state, const std::string& name) {
  LayerTensors tensors;
  while (state.has(fmt::format("{}/{}", name, tensors.size()))) tensors.push_back(state.tensor(fmt::format("{}/{}", name, tensors.size())));
  return tensors;
}

Json latest_evaluation(const Training& training) {
  static const std::set<std::string> kOfSteps{"loss", "hit_rate", "lr", "density"};
  Json values = Json::object();
  const auto& metrics = training.metrics();
  for (auto metric = metrics.rbegin(); metric != metrics.rend() && metric->step == training.steps_run(); ++metric)
    if (!kOfSteps.count(metric->name) && metric->name.find('/') == std::string::npos) values.emplace(metric->name, metric->value);
  return values;
}

}  // namespace espalier
