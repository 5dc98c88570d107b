#pragma once

#include <string_view>

#include "espalier/engine/jinja/syntax.h"

namespace espalier::jinja {

// UserError naming the line for what is no template, or uses what chat templates have no need of (include, extends …).
Body parse(std::string_view source, Budget& budget);

}  // namespace espalier::jinja
