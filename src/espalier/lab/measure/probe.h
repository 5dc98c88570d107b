// Inputs that need no data, and running a graph on them whole.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "espalier/families/family.h"

namespace espalier {

// One a graph input: ids 0, 1, 2 … below the vocabulary (text: eight tokens; other whole-number inputs: ones and zeros),
// and uniform noise in [0, 1) elsewhere. The same seed gives the same.
std::vector<at::Tensor> probe_inputs(const Model& model, uint64_t seed, int64_t batch = 1);

// All outputs of the graph, without gradients.
std::vector<at::Tensor> run_graph(const Graph& graph, const std::vector<at::Tensor>& inputs);

}  // namespace espalier
