// The last stage of encoding: which special tokens stand before and behind the tokens of one text. All processors in
// use come down to this for a single text.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier::tok {

struct PostProcessor {
  std::vector<int32_t> prefix, suffix;
};

// has_id says whether an id names a token; UserError for a template that uses another one.
PostProcessor make_post_processor(const Json& spec, const std::function<bool(int32_t)>& has_id,
                                  const std::string& where);

}  // namespace espalier::tok
