// The part of `espalier eval` for encoders that predict hidden tokens (BERT).
#pragma once

#include "espalier/core/json.h"
#include "espalier/families/family.h"
#include "espalier/requests/requests.h"

namespace espalier {

// metric masked_ppl (also when none is asked for) or kl, of tokens that the seed chooses. UserError for what is of other models.
Json evaluate_masked(const EvalRequest& request, const Model& model);

}  // namespace espalier
