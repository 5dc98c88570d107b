// Runs a pruning request: loads, prunes step by step, writes, re-opens and verifies.
#pragma once

#include "espalier/core/json.h"
#include "espalier/families/family.h"
#include "espalier/requests/requests.h"

namespace espalier {

Json run_prune(const PruneRequest& request);

// A model by path or embedded name.
Model open_model(const std::string& path_or_name);

Json size_to_json(const Graph& graph, int64_t context_length);  // {"params","flops","bytes"}; flops: a token of one full context

}  // namespace espalier
