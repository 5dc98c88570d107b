// What a classifier graph puts out, as scores of classes.
#pragma once

#include <ATen/core/Tensor.h>

#include "espalier/graph/graph.h"

namespace espalier {

// Whether the graph's output are probabilities already: a Softmax, at most reshaped behind.
bool gives_probabilities(const Graph& graph);

// Natural logarithms of the class probabilities [n, k] from the output [n, k] or [n, k, 1, 1] of `graph` for n
// pictures. UserError when the output has another form.
at::Tensor class_log_probabilities(const Graph& graph, const at::Tensor& output, int64_t pictures);

// The most pictures at a time, at most `wanted` (0: as many as fit a few hundred megabytes), that the graph takes: 1
// when its arithmetic allows no other number. shape: of one picture, [c, h, w]. UserError when not even one picture
// fits.
int64_t batch_that_fits(const Graph& graph, const std::vector<int64_t>& shape, int64_t wanted);

}  // namespace espalier
