#include "espalier/lab/allocation/channel_widths.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {

double width_factor(const std::vector<double>& densities) {
  double logarithms = 0;
  for (double density : densities) {
    if (!(density >= 0 && density <= 1)) throw UserError("densities", "density of a layer", "a number in [0, 1]", fmt::format("{}", density));
    logarithms += 0.5 * std::log(density);
  }
  return densities.empty() ? 1.0 : std::exp(logarithms / static_cast<double>(densities.size()));
}

int64_t scaled_width(int64_t width, double factor, int64_t multiple) {
  ESP_ASSERT(width > 0 && multiple > 0 && factor >= 0);
  const auto rounded = [&](double to) {
    return static_cast<int64_t>(std::floor(static_cast<double>(width) * factor / to + 0.5)) * static_cast<int64_t>(to);
  };
  const int64_t exact = rounded(1);
  return std::clamp<int64_t>(multiple == 1 ? exact : rounded(static_cast<double>(multiple)), std::min(multiple, width), width);
}

}  // namespace espalier
