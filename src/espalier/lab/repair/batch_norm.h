// Running statistics of batch norms, taken anew after a network was cut (SPA, E.5).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

// Batch norms that have running statistics.
bool has_batch_statistics(const Graph& graph);

// Forgets the running means and variances and takes them from these inputs [n, c, h, w]: the plain average over the
// batches of each batch's mean and (unbiased) variance, while every batch norm normalises by the batch's own
// statistics. That is PyTorch's training mode with momentum=None. UserError without such norms, without batches, or
// when a statistic is not finite.
void reestimate_batch_norm(Graph& graph, const std::vector<at::Tensor>& batches);

}  // namespace espalier
