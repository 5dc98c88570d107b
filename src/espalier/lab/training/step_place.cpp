#include "espalier/lab/training/step_place.h"

#include <charconv>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {

int64_t step_place(const std::string& where, const std::string& text, int64_t steps, int64_t steps_an_epoch) {
  const bool epochs = text.ends_with("ep");
  const std::string digits = epochs ? text.substr(0, text.size() - 2) : text;
  double value = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || !std::isfinite(value))
    throw UserError(where, "value", "steps (300), epochs (6ep) or a share of the run (0.05)", "'" + printable(text) + "'");
  const double unit = epochs ? static_cast<double>(steps_an_epoch) : digits.find('.') != std::string::npos ? static_cast<double>(steps) : 1;
  const double place = std::round(value * unit);
  if (!(place >= 0 && place <= static_cast<double>(steps)))
    throw UserError(where, "value", fmt::format("a place in the run of {} steps", steps), fmt::format("'{}', which is step {:g}", printable(text), place));
  return static_cast<int64_t>(place);
}

}  // namespace espalier
