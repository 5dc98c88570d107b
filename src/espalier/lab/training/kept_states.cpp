#include "espalier/lab/training/kept_states.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_model.h"
#include "espalier/lab/training/fresh_weights.h"

namespace espalier {

void KeptStates::before_step(const Training& training) {
  if (training.steps_run() > 0 || !initial_.tensors.empty()) return;
  initial_ = training.snapshot();
  initial_.values["step"] = 0;  // the step has begun, and nothing of it is done
}

void KeptStates::after_step(const Training& training) {
  if (early_step_ > 0 && training.steps_run() + 1 == early_step_) early_ = training.snapshot();
}

const StateStore& KeptStates::checked(const StateStore& store, int64_t step) const {
  if (store.tensors.empty()) user_error("{}: the state of step {} is missing, so the training cannot go back to it", owner_, step);
  return store;
}

void KeptStates::save(StateStore& state) const {
  state.put("initial", initial_);
  state.put("early", early_);
}

void KeptStates::load(const StateStore& state) {
  initial_ = state.part("initial");
  early_ = state.part("early");
}

std::vector<at::Tensor> masked_weights(const StateStore& state, const std::vector<std::string>& names, const std::vector<at::Tensor>& masks) {
  std::vector<at::Tensor> weights;
  for (size_t l = 0; l < names.size(); ++l) weights.push_back(state.tensor("weight/" + names[l]) * masks[l]);
  return weights;
}

StateStore fresh_state(const Training& training, const StateStore& initial, uint64_t seed) {
  Graph graph = training.graph().clone();
  const bool reads_tokens = std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) { return node.op == "Embedding"; });
  if (reads_tokens) {
    initialise_decoder(graph, seed);
  } else {
    initialise_weights(graph, seed);
  }
  StateStore state = initial.clone();
  for (auto& [key, tensor] : state.tensors) {
    const std::string name = key.substr(key.find('/') + 1);
    const bool of_model = key.starts_with("weight/") || key.starts_with("average/") || key.starts_with("statistic/");
    if (of_model && graph.has_parameter(name)) tensor = to_torch(graph.parameter(name).load()).to(at::kFloat);
  }
  return state;
}

}  // namespace espalier
