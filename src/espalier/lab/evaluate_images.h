// The part of `espalier eval` for classifiers of pictures.
#pragma once

#include "espalier/core/json.h"
#include "espalier/families/family.h"
#include "espalier/requests/requests.h"

namespace espalier {

// metric accuracy (also when none is asked for) or kl. UserError for what is of texts only, and without data.
Json evaluate_images(const EvalRequest& request, const Model& model);

}  // namespace espalier
