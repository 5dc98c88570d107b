// What a pruning would need and reach; writes nothing.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

// The budget is proved: each step cuts the graph as in a run, but by arbitrary scores (PruneJob::trial), so that no weight
// and no text is read. Memory, disk and time are estimates. UserError for whatever would make the run refuse the request.
Json plan_prune(const PruneRequest& request);

}  // namespace espalier
