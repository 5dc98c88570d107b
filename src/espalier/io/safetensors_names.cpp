#include "espalier/io/safetensors_names.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "espalier/core/error.h"
#include "espalier/core/json.h"

namespace espalier {
namespace {

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool climbs(std::string_view name) {
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find_first_of("/\\", begin), name.size());
    if (name.substr(begin, end - begin) == "..") return true;
    begin = end + 1;
  }
  return false;
}

std::string nfc(const std::string& text) {
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t bytes =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  ESP_ASSERT(bytes >= 0, "{}", utf8proc_errmsg(bytes));
  return {reinterpret_cast<const char*>(composed), static_cast<size_t>(bytes)};
}

}  // namespace

std::string tensor_name_problem(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxTensorNameBytes)
    return fmt::format("has {} bytes, more than {}", name.size(), kMaxTensorNameBytes);
  if (!is_valid_utf8(name)) return "is not valid UTF-8";
  if (std::any_of(name.begin(), name.end(), is_control)) return "contains a control character";
  if (climbs(name)) return "contains the path component '..'";
  return "";
}

void TensorNames::add(const std::string& name, const std::string& where) {
  if (const std::string problem = tensor_name_problem(name); !problem.empty())
    user_error("{}: the tensor name '{}' {}", where, printable(name), problem);
  if (!exact_.insert(name).second) user_error("{}: two tensors are named '{}'", where, printable(name));
  if (!is_ascii(name) && !normalized_.insert(nfc(name)).second)
    user_error("{}: the tensor name '{}' equals another one after Unicode normalisation", where, printable(name));
}

}  // namespace espalier
