// Quality of a model on a text or on pictures: the body of `espalier eval`.
#pragma once

#include <filesystem>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/families/family.h"
#include "espalier/requests/requests.h"

namespace espalier {

// The text as the model's tokens, at most `limit` of them (0: all). UserError for an id outside the vocabulary.
std::vector<int32_t> tokens_of(const std::filesystem::path& data, const Model& model, int64_t limit);

Json run_eval(const EvalRequest& request);

}  // namespace espalier
