#include "espalier/lab/training/optimiser.h"

#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include <map>
#include <sstream>
#include <type_traits>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

using torch::optim::AdamParamState;
using torch::optim::AdamWParamState;
using torch::optim::Optimizer;
using torch::optim::OptimizerParamGroup;
using torch::optim::SGDParamState;

// libtorch 1 keys its states by the address as text, libtorch 2 by the address.
template <typename Map>
auto key_in(const Map&, const at::Tensor& value) {
  if constexpr (std::is_same_v<typename Map::key_type, std::string>) {
    std::ostringstream text;
    text << value.unsafeGetTensorImpl();
    return text.str();
  } else {
    return typename Map::key_type(value.unsafeGetTensorImpl());
  }
}

template <typename State>
State* state_of(Optimizer& optimiser, const at::Tensor& value) {
  auto& states = optimiser.state();
  const auto found = states.find(key_in(states, value));
  return found == states.end() ? nullptr : static_cast<State*>(found->second.get());
}

template <typename State>
void set_state(Optimizer& optimiser, const at::Tensor& value, std::unique_ptr<State> state) {
  auto& states = optimiser.state();
  states[key_in(states, value)] = std::move(state);
}

template <typename Options>
std::vector<OptimizerParamGroup> groups_of(const std::vector<TrainOptimiser::Slot>& slots, Options settings,
                                           std::vector<double>& factors) {
  std::map<std::pair<double, double>, std::vector<at::Tensor>> sorted;
  for (const auto& slot : slots) sorted[{slot.weight_decay, slot.rate_factor}].push_back(slot.value);
  std::vector<OptimizerParamGroup> groups;
  for (const auto& [key, values] : sorted) {
    factors.push_back(key.second);
    groups.emplace_back(values, std::make_unique<Options>(settings.weight_decay(key.first)));
  }
  return groups;
}

template <typename Made, typename Options>
std::unique_ptr<Optimizer> make(const std::vector<TrainOptimiser::Slot>& slots, const Options& settings,
                                std::vector<double>& factors) {
  return std::make_unique<Made>(groups_of(slots, settings, factors), settings);
}

std::unique_ptr<Optimizer> make(const TrainOptions& options, const std::vector<TrainOptimiser::Slot>& slots,
                                std::vector<double>& factors) {
  const double rate = options.learning_rate;
  switch (options.optimiser) {
    case OptimiserKind::kSgd:
      return make<torch::optim::SGD>(
          slots, torch::optim::SGDOptions(rate).momentum(options.momentum).nesterov(options.nesterov), factors);
    case OptimiserKind::kAdam:
      return make<torch::optim::Adam>(
          slots, torch::optim::AdamOptions(rate).betas({options.beta1, options.beta2}), factors);
    case OptimiserKind::kAdamW:
      return make<torch::optim::AdamW>(
          slots, torch::optim::AdamWOptions(rate).betas({options.beta1, options.beta2}), factors);
  }
  bug(__FILE__, __LINE__, "an optimiser without a name");
}

template <typename State>
std::vector<at::Tensor> moments(Optimizer& optimiser, const at::Tensor& value) {
  const State* state = state_of<State>(optimiser, value);
  return state ? std::vector{state->exp_avg(), state->exp_avg_sq()} : std::vector<at::Tensor>{};
}

template <typename State>
void save_moments(Optimizer& optimiser, const TrainOptimiser::Slot& slot, StateStore& store) {
  State* state = state_of<State>(optimiser, slot.value);
  if (!state) return;
  store.tensors["first/" + slot.name] = state->exp_avg();
  store.tensors["second/" + slot.name] = state->exp_avg_sq();
  store.values[slot.name] = state->step();
}

template <typename State>
void load_moments(Optimizer& optimiser, const TrainOptimiser::Slot& slot, const StateStore& store) {
  if (!store.has("first/" + slot.name)) return;
  auto state = std::make_unique<State>();
  state->exp_avg(store.tensor("first/" + slot.name).clone());
  state->exp_avg_sq(store.tensor("second/" + slot.name).clone());
  state->step(store.values.at(slot.name).template get<int64_t>());
  set_state(optimiser, slot.value, std::move(state));
}

}  // namespace

TrainOptimiser::TrainOptimiser(const TrainOptions& options, std::vector<Slot> slots)
    : kind_(options.optimiser), slots_(std::move(slots)), optimiser_(make(options, slots_, factors_)) {}

TrainOptimiser::~TrainOptimiser() = default;

void TrainOptimiser::step(double learning_rate) {
  auto& groups = optimiser_->param_groups();
  for (size_t i = 0; i < groups.size(); ++i) groups[i].options().set_lr(learning_rate * factors_[i]);
  optimiser_->step();
}

void TrainOptimiser::clear_gradients() {
  for (auto& slot : slots_) slot.value.mutable_grad() = at::Tensor();
}

std::vector<at::Tensor> TrainOptimiser::gathered(const at::Tensor& value) const {
  if (kind_ == OptimiserKind::kAdam) return moments<AdamParamState>(*optimiser_, value);
  if (kind_ == OptimiserKind::kAdamW) return moments<AdamWParamState>(*optimiser_, value);
  const auto* state = state_of<SGDParamState>(*optimiser_, value);
  return state && state->momentum_buffer().defined() ? std::vector{state->momentum_buffer()} : std::vector<at::Tensor>{};
}

uint64_t TrainOptimiser::state_bytes() const {
  uint64_t bytes = 0;
  for (const auto& slot : slots_)
    for (const auto& tensor : gathered(slot.value)) bytes += tensor.nbytes();
  return bytes;
}

void TrainOptimiser::forget_all() { optimiser_->state().clear(); }

StateStore TrainOptimiser::save() const {
  StateStore store;
  for (const auto& slot : slots_) {
    if (kind_ == OptimiserKind::kAdam) {
      save_moments<AdamParamState>(*optimiser_, slot, store);
    } else if (kind_ == OptimiserKind::kAdamW) {
      save_moments<AdamWParamState>(*optimiser_, slot, store);
    } else if (const auto buffers = gathered(slot.value); !buffers.empty()) {
      store.tensors["momentum/" + slot.name] = buffers.front();
    }
  }
  return store;
}

void TrainOptimiser::load(const StateStore& store) {
  forget_all();
  for (const auto& slot : slots_) {
    if (kind_ == OptimiserKind::kAdam) {
      load_moments<AdamParamState>(*optimiser_, slot, store);
    } else if (kind_ == OptimiserKind::kAdamW) {
      load_moments<AdamWParamState>(*optimiser_, slot, store);
    } else if (const std::string name = "momentum/" + slot.name; store.has(name)) {
      auto state = std::make_unique<SGDParamState>();
      state->momentum_buffer(store.tensor(name).clone());
      set_state(*optimiser_, slot.value, std::move(state));
    }
  }
}

}  // namespace espalier
