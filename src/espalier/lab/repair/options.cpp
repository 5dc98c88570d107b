#include "espalier/lab/repair/options.h"

#include <algorithm>

namespace espalier {

void require_known(const RepairSettings& given, const std::vector<std::string>& known) {
  for (const auto& [name, value] : given)
    if (std::find(known.begin(), known.end(), name) == known.end())
      user_error("repair: unknown option 'repair.{}'{}; it takes {}", printable(name), did_you_mean(name, known),
                 fmt::join(known, ", "));
}

}  // namespace espalier
