// Runs a training request: loads, trains with its plugins, cuts what they say, writes, re-opens and verifies.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

Json run_train(const TrainRequest& request);

}  // namespace espalier
