#include "espalier/lab/methods/option_values.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "espalier/core/error.h"

namespace espalier {
namespace {

template <typename T>
bool parse(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  return !text.empty() && read.ec == std::errc() && read.ptr == end;
}

}  // namespace

OptionValues::OptionValues(std::string owner, const std::vector<OptionSpec>& specs, const std::map<std::string, std::string>& given)
    : owner_(std::move(owner)) {
  std::vector<std::string> known;
  for (const auto& spec : specs) {
    known.push_back(spec.name);
    values_[spec.name] = spec.value;
  }
  for (const auto& [name, value] : given) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      user_error("{}: there is no option '{}'{}; {}", owner_, printable(name), did_you_mean(name, known),
                 known.empty() ? "it takes none" : fmt::format("expected one of {}", fmt::join(known, ", ")));
    values_[name] = value;
  }
}

std::string OptionValues::text(const std::string& name) const {
  const auto found = values_.find(name);
  ESP_ASSERT(found != values_.end(), "{} has no option {}", owner_, name);
  return found->second;
}

int64_t OptionValues::integer(const std::string& name, int64_t least, int64_t most) const {
  int64_t value = 0;
  if (!parse(text(name), value) || value < least || value > most)
    throw UserError(owner_, "option " + name, fmt::format("a whole number from {} to {}", least, most), printable(text(name)));
  return value;
}

double OptionValues::real(const std::string& name, double least, double most) const {
  double value = 0;
  if (!parse(text(name), value) || !(value >= least && value <= most))
    throw UserError(owner_, "option " + name, fmt::format("a number from {:g} to {:g}", least, most), printable(text(name)));
  return value;
}

bool OptionValues::flag(const std::string& name) const {
  const std::string given = text(name);
  if (given == "true" || given == "1" || given == "yes") return true;
  if (given == "false" || given == "0" || given == "no") return false;
  throw UserError(owner_, "option " + name, "true or false", fmt::format("'{}'", printable(given)));
}

std::string OptionValues::word(const std::string& name, const std::vector<std::string>& known) const {
  const std::string given = text(name);
  if (std::find(known.begin(), known.end(), given) == known.end())
    throw UserError(owner_, "option " + name, fmt::format("one of {}", fmt::join(known, ", ")),
                    fmt::format("'{}'{}", printable(given), did_you_mean(given, known)));
  return given;
}

}  // namespace espalier
