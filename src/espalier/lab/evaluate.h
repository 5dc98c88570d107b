// Quality of a model on a text: the body of `espalier eval`.
#pragma once

#include "espalier/cli/requests.h"
#include "espalier/core/json.h"

namespace espalier {

Json run_eval(const EvalRequest& request);

}  // namespace espalier
