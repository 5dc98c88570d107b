// Wanda (2023): score_ij = |W_ij| * c_j with c_j the L2 norm of input j over the calibration tokens; no weight update.
#pragma once

#include "espalier/lab/criteria/masks.h"

namespace espalier {

// |W| * c as fp32 [out, in]; norms is [in] (ColumnNorms::norms).
at::Tensor wanda_scores(const at::Tensor& weight, const at::Tensor& norms, const std::string& name);

// The mask without the score matrix in memory. UserError when norms has another width or is not finite.
at::Tensor wanda_mask(const at::Tensor& weight, const at::Tensor& norms, const Pattern& pattern,
                      const std::string& name);

// Structured form: importance of input channel j of a down or output projection, ||W_:,j||_2 * c_j, fp32 [in].
at::Tensor wanda_channel_scores(const at::Tensor& weight, const at::Tensor& norms, const std::string& name);

}  // namespace espalier
