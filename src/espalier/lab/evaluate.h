// Quality of a model on a text or on pictures: the body of `espalier eval`.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

Json run_eval(const EvalRequest& request);

}  // namespace espalier
