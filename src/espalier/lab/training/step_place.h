// A place in a training, as users write it.
#pragma once

#include <cstdint>
#include <string>

namespace espalier {

// "300": after 300 steps; "6ep", "2.5ep": after so many epochs; "0.05", "1.0" (with a point): after this share of all steps.
// UserError naming `where`: anything else, or a place outside [0, steps].
int64_t step_place(const std::string& where, const std::string& text, int64_t steps, int64_t steps_an_epoch);

}  // namespace espalier
