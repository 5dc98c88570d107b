// Rotary frequencies from a configuration: plain, linear, dynamic, llama3 and yarn scaling.
#pragma once

#include <vector>

#include "espalier/core/json.h"

namespace espalier {

struct RotaryPlan {
  std::vector<double> inverse_frequency;  // one a rotated pair
  double scale = 1;                       // of cosine and sine
};

// rotary_size: rotated channels of a head (even). Reads rope_theta and rope_scaling, or the newer rope_parameters.
RotaryPlan rotary_plan(const Json& config, int64_t rotary_size, int64_t context_length, const std::string& where);

}  // namespace espalier
