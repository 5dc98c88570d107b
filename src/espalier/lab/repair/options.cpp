#include "espalier/lab/repair/options.h"

#include <algorithm>

namespace espalier {

void require_known(const RepairSettings& given, const std::vector<std::string>& known) {
  for (const auto& [name, value] : given)
    if (std::find(known.begin(), known.end(), name) == known.end())
      user_error("repair: unknown option 'repair.{}'{}; it takes {}", printable(name), did_you_mean(name, known),
                 fmt::join(known, ", "));
}

void read_flag(const RepairSettings& given, const std::string& name, bool& value) {
  const auto found = given.find(name);
  if (found == given.end()) return;
  if (found->second != "true" && found->second != "false")
    throw UserError("repair", "option repair." + name, "true or false", printable(found->second));
  value = found->second == "true";
}

}  // namespace espalier
