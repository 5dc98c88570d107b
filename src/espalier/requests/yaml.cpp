// YAML in and out of Json, for recipes.
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>

#include "espalier/requests/recipe.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"

namespace espalier {
namespace {

constexpr uint64_t kMostBytes = 1u << 20;
constexpr int kDeepest = 16;
constexpr int kMostNodes = 100000;  // aliases of aliases multiply

class Converter {
 public:
  explicit Converter(std::string where) : where_(std::move(where)) {}

  Json convert(const YAML::Node& node, int depth = 0) {
    if (depth > kDeepest || ++nodes_ > kMostNodes)
      user_error("{}: nested too deep or too large for a recipe", place(node));
    if (node.IsMap()) return convert_map(node, depth);
    if (node.IsSequence()) {
      Json list = Json::array();
      for (const auto& entry : node) list.push_back(convert(entry, depth + 1));
      return list;
    }
    return node.IsScalar() ? Json(valid(node.Scalar(), node)) : Json(nullptr);
  }

 private:
  Json convert_map(const YAML::Node& node, int depth) {
    Json object = Json::object();
    for (const auto& pair : node) {
      if (!pair.first.IsScalar()) user_error("{}: a key must be one word", place(pair.first));
      const auto key = valid(pair.first.Scalar(), pair.first);
      if (object.contains(key)) user_error("{}: the key '{}' stands twice", place(pair.first), printable(key));
      object[key] = convert(pair.second, depth + 1);
    }
    return object;
  }

  std::string valid(const std::string& text, const YAML::Node& node) const {
    if (!is_valid_utf8(text)) user_error("{}: not valid UTF-8", place(node));
    return text;
  }

  std::string place(const YAML::Node& node) const { return fmt::format("{}:{}", where_, node.Mark().line + 1); }

  std::string where_;
  int nodes_ = 0;
};

// Text that YAML could take for a number, a boolean or syntax gets quotes.
bool is_plain(const std::string& text) {
  static const std::vector<std::string> kReserved = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  std::string lower;
  for (unsigned char c : text) {
    if (!std::isalnum(c) && c != '_' && c != '-' && c != '.' && c != '/') return false;
    lower += static_cast<char>(std::tolower(c));
  }
  return !text.empty() && std::isalpha(static_cast<unsigned char>(text[0])) &&
         std::find(kReserved.begin(), kReserved.end(), lower) == kReserved.end();
}

std::string scalar(const Json& value) {
  return value.is_string() && is_plain(value.get_ref<const std::string&>()) ? value.get<std::string>() : value.dump();
}

// Lines of a block; the first starts where the cursor already is (after "- "), hence the leading indent is the
// caller's.
void emit(const Json& value, size_t indent, std::string& out) {
  bool first = true;
  const auto start_line = [&] {
    if (!first) out.append(indent, ' ');
    first = false;
  };
  if (value.is_object()) {
    for (const auto& [key, entry] : value.items()) {
      start_line();
      out += scalar(Json(key)) + ":";
      if (entry.is_structured() && !entry.empty()) {
        out.append("\n").append(indent + 2, ' ');
        emit(entry, indent + 2, out);
      } else {
        out.append(" ").append(scalar(entry)).append("\n");
      }
    }
  } else {
    for (const auto& entry : value) {
      start_line();
      out += "- ";
      if (entry.is_structured() && !entry.empty()) {
        emit(entry, indent + 2, out);
      } else {
        out += scalar(entry) + "\n";
      }
    }
  }
}

}  // namespace

std::string to_yaml(const Json& value) {
  if (!value.is_structured() || value.empty()) return scalar(value) + "\n";
  std::string out;
  emit(value, 0, out);
  return out;
}

Json read_yaml(const std::filesystem::path& path) {
  const auto text = read_file(path, kMostBytes);
  if (!is_valid_utf8(text)) user_error("{}: not valid UTF-8", path.string());
  try {
    return Converter(path.string()).convert(YAML::Load(text));
  } catch (const YAML::Exception& error) {
    user_error("{}:{}:{}: not YAML: {}", path.string(), error.mark.line + 1, error.mark.column + 1,
               printable(error.msg, 200));  // it quotes the file
  }
}

}  // namespace espalier
