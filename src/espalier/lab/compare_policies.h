// Attention policies at equal budgets of keys: the body of `espalier compare --policies`.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

// A list of rows (engine/policy_measure.h): dense, then the policies asked for and the controls streaming, h2o and
// random-tokens, budgets ascending; a policy without a budget once. What cannot be is a row with "error". With an output
// every finished row is kept, and a resumed run goes on after it; the directory holds rows.json, perplexity.svg,
// needle.svg and report.html with a heat map of every row.
Json run_policy_compare(const PolicyCompareRequest& request);

}  // namespace espalier
