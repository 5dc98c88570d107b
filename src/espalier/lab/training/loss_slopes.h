// Derivatives of a training's loss by its weights, outside the steps: nothing of the training moves.
#pragma once

#include <string>
#include <vector>

#include "espalier/lab/criteria/alive_ranking.h"
#include "espalier/lab/training/training.h"

namespace espalier {

// Of the first `batches` batches of the run's data, as it trains (batch norms by the batch), under the present masks; means
// over the batches, fp32, by name.
LayerTensors loss_gradients(Training& training, const std::vector<std::string>& names, int64_t batches);

// H g: each batch's Hessian of the loss with the outputs divided by `temperature`, times its gradient.
LayerTensors loss_curvatures(Training& training, const std::vector<std::string>& names, int64_t batches, double temperature);

}  // namespace espalier
