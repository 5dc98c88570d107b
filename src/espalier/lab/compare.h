// Several methods at several sparsities under one protocol: the body of `espalier compare`.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

// A list of rows {"method", "sparsity", "of", "reached", "metric", "value", "ci95", "kl", "top1_agreement", "params", "nonzero",
// "flops", "seconds", "forward_ratio", "decode_tok_s"}: the dense model first, then methods in the order asked for,
// sparsities ascending. kl and top1_agreement compare with the dense model before any repair; forward_ratio is the time of
// a forward in the laboratory's interpreter by that of the dense model, the median over rounds in which both take turns. A combination that
// cannot be reached is a row with "error". With an output every finished row is kept, and a resumed run goes on after it;
// the directory holds rows.json, pareto.svg and report.html.
Json run_compare(const CompareRequest& request);

}  // namespace espalier
