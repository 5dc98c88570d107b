// Gradients of a task's loss for whole graphs, for criteria that need them.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "espalier/lab/measure/node_sweep.h"

namespace espalier {

// One batch: what the graph reads, and for every row of its logits the right class (a language model: the next token).
struct LossBatch {
  GraphInputs inputs;
  at::Tensor targets;  // int64, as many as rows of logits
};

using Gradients = std::map<std::string, at::Tensor>;  // fp32 by parameter; statistics of norms and unused ones are absent

// Mean over the batches of the gradient of the cross entropy. UserError when the loss is not finite.
Gradients mean_gradients(const Graph& graph, const std::vector<LossBatch>& batches);

// H g, the Hessian times the gradient, each batch by its own gradient, averaged (GraSP's product).
Gradients hessian_gradient_products(const Graph& graph, const std::vector<LossBatch>& batches);

}  // namespace espalier
