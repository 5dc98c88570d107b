#pragma once

#include <ctime>
#include <string>

#include "espalier/engine/jinja/syntax.h"

namespace espalier::jinja {

// The text of the template. now: what strftime_now shows, in local time. UserError with the line where it fails, also
// for what the template itself raises.
std::string render(const Body& body, const Members& variables, std::time_t now, Budget& budget);

}  // namespace espalier::jinja
