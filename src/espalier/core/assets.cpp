#include "espalier/core/assets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "espalier/core/error.h"
#include "espalier/core/resources.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (const auto name = entry.path().filename().string(); !name.starts_with('.') && !name.ends_with(".md"))
      names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

fs::path resolve(const std::string& path_or_name, const char* folder, const char* what) {
  std::error_code error;
  if (!path_or_name.empty() && fs::exists(path_or_name, error)) return path_or_name;
  const auto names = names_in(assets_directory() / folder);
  if (std::find(names.begin(), names.end(), path_or_name) != names.end())
    return assets_directory() / folder / path_or_name;
  user_error("{}: no such file or directory, and no embedded {} of this name{}; embedded: {}",
             printable(path_or_name, 200), what, did_you_mean(path_or_name, names),
             names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
}

}  // namespace

fs::path assets_directory() {
  if (const char* set = std::getenv("ESPALIER_ASSETS"); set && *set) return set;
  const auto installed = program_directory().parent_path() / "share/espalier";
  std::error_code error;
  return fs::is_directory(installed, error) ? installed : fs::path(ESPALIER_ASSETS_DIR);
}

bool is_embedded(const std::filesystem::path& model) {
  std::error_code error;
  return std::filesystem::equivalent(model.parent_path(), assets_directory() / "models", error) && !error;
}

std::vector<std::string> embedded_models() { return names_in(assets_directory() / "models"); }
std::vector<std::string> embedded_data() { return names_in(assets_directory() / "data"); }

fs::path resolve_model(const std::string& path_or_name) { return resolve(path_or_name, "models", "model"); }
fs::path resolve_data(const std::string& path_or_name) { return resolve(path_or_name, "data", "sample"); }

}  // namespace espalier
