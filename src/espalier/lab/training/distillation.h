// A teacher's outputs, block outputs and attention as further targets of a training.
#pragma once

#include <memory>

#include "espalier/graph/graph.h"
#include "espalier/lab/training/plugin.h"

namespace espalier {

struct DistillationOptions {
  double outputs = 1;      // weight of KL(teacher ‖ student) of the softened outputs, times temperature² (Hinton et al. 2015)
  double features = 0;     // weight of the mean squared distance of all blocks' outputs
  double attention = 0;    // weight of KL of the attention probabilities, averaged over heads
  double temperature = 1;
};

// student: the graph that is trained. The teacher's graph must outlive the plugin. UserError: blocks that do not match.
std::unique_ptr<Plugin> make_distillation(const Graph& student, const Graph& teacher, const DistillationOptions& options);

}  // namespace espalier
