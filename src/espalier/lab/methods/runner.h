// Runs a pruning request: loads, prunes step by step, writes, re-opens and verifies.
#pragma once

#include "espalier/core/json.h"
#include "espalier/families/family.h"
#include "espalier/requests/requests.h"

namespace espalier {

Json run_prune(const PruneRequest& request);

// A model by path or embedded name.
Model open_model(const std::string& path_or_name, const CommonRequest& common);

Json size_to_json(const Graph& graph, const Model& model);  // {"params","flops","bytes"}, as model_size() counts them

}  // namespace espalier
