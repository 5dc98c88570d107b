// Initial weights for any graph, whatever it was cut or imported from.
#pragma once

#include <cstdint>

#include "espalier/graph/graph.h"

namespace espalier {

// Every parameter anew: weights of Conv and Linear from He et al.'s normal (variance 2 / fan-in; a classifier that the
// graph gives out 1 / fan-in), biases 0, scales of norms 1, their statistics 0 and 1, PRelu slopes 0.25, tables and tokens
// from a normal of deviation 0.02. Each parameter has a stream of its own, by its name. Types stay.
struct InitialWeights {
  bool fan_out = false;    // of convolutions and inner Linear layers: variance 2 / fan-out, output channels times kernel
  double norm_scale = 1;   // of batch norms
};
void initialise_weights(Graph& graph, uint64_t seed, const InitialWeights& options = {});

double he_deviation(double fan);  // sqrt(2 / fan)

}  // namespace espalier
