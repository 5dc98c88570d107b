// What the baselines of sparse training share: a random sparse start, and how they are measured.
#pragma once

#include <map>
#include <string>

#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/training/dynamic_sparse.h"

namespace espalier {

// Random masks that leave 1 - sparsity of the weights (0.9 where none is given), shared among layers as the option `start`
// says. UserError: a sparsity outside [0, 1), an unknown start.
DynamicSparse sparse_start(const std::string& id, const PluginRequest& request);
double sparsity_of(const std::string& id, const PluginRequest& request);

// Top-1 of a small convolutional network at 95 % against a fixed random mask, mean of three seeds.
Reproduction against_a_fixed_mask(const ReproduceContext& context, const std::string& method, int64_t steps, const std::map<std::string, std::string>& options, const std::string& claim);

}  // namespace espalier
