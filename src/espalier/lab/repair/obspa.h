// OBSPA (SPA, section E): Optimal Brain Surgeon over a whole graph. Scores of single weights from layer inputs, and the
// joint update of the inputs that stay when channels go.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "espalier/lab/criteria/group_importance.h"
#include "espalier/lab/measure/node_sweep.h"
#include "espalier/structure/surgery.h"

namespace espalier {

struct ObspaOptions {
  double damp = 0.01;         // share of the Hessian's mean diagonal
  int64_t columns = 16384;    // output positions of a convolution that are looked at, over all pictures
  bool update = true;         // false: removed inputs become zero, the others stay
  bool norms = false;         // batch norms get their statistics anew, on the way
  uint64_t seed = 0;          // of the choice of positions
};

// w² / [H⁻¹]jj of every Linear and Conv weight, H = 2 X Xᵀ damped, X its inputs; other parameters have no score.
ElementScores obs_element_scores(const Graph& graph, const std::vector<GraphInputs>& batches, const ObspaOptions& options);

struct LayerUpdate {
  std::string node;
  int64_t removed = 0;                        // input channels
  double err_zeroed = 0, err_updated = 0;     // ‖WX − W'X‖² with the removed inputs set to zero, and with the others moved
};

// For the cuts that will follow: in the order in which layers run, each that loses inputs P becomes the minimiser of
// ‖WX − W'X‖² under W'[:, P] = 0, X what the layers before it, already changed, give it. Shapes stay; what is to be cut of
// outputs is still there. A weight that several nodes share, and a transposed convolution's, is not updated.
std::vector<LayerUpdate> obspa_update(Graph& graph, const Coupling& coupling, const std::vector<GroupCut>& cuts,
                                      const std::vector<GraphInputs>& batches, const ObspaOptions& options);

}  // namespace espalier
