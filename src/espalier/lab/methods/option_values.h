// Options as given on the command line or in a recipe, with the defaults of their specification filled in.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "espalier/lab/methods/method.h"

namespace espalier {

class OptionValues {
 public:
  // owner: whose options they are, for errors ("15-granet"). UserError: an option that it does not take.
  OptionValues(std::string owner, const std::vector<OptionSpec>& specs, const std::map<std::string, std::string>& given);

  std::string text(const std::string& name) const;
  bool has(const std::string& name) const { return !text(name).empty(); }
  int64_t integer(const std::string& name, int64_t least, int64_t most) const;
  double real(const std::string& name, double least, double most) const;
  bool flag(const std::string& name) const;
  // UserError unless it is one of these.
  std::string word(const std::string& name, const std::vector<std::string>& known) const;
  const std::map<std::string, std::string>& all() const { return values_; }
  const std::string& owner() const { return owner_; }

 private:
  std::string owner_;
  std::map<std::string, std::string> values_;
};

}  // namespace espalier
