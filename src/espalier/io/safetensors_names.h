// Which names a tensor may have. Names end up in messages, in file names of exports and as keys of other formats, so
// what could be mistaken for another name or for a path is refused when a file is opened.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

namespace espalier {

constexpr size_t kMaxTensorNameBytes = 1024;

// Why a name is not acceptable, or "": empty, longer than kMaxTensorNameBytes, not UTF-8, a control character, a path
// component "..".
std::string tensor_name_problem(std::string_view name);

// The names of one file or checkpoint, each acceptable and different from all others even after Unicode normalisation
// (NFC), for two names that look alike would be one file name on some systems.
class TensorNames {
 public:
  void add(const std::string& name, const std::string& where);  // UserError

 private:
  std::unordered_set<std::string> exact_, normalized_;  // normalized_: of the names that are not ASCII
};

}  // namespace espalier
