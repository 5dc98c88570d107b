#include "espalier/core/manifest.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/file.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

void sync_file(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!synced) user_error("{}: cannot sync: {}", path.string(), std::strerror(error));
}

// Sorted paths relative to the directory.
std::vector<fs::path> files_below(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (!entry.is_directory()) files.push_back(entry.path().lexically_relative(directory));
  std::sort(files.begin(), files.end());
  return files;
}

void verify_file(const fs::path& path, const Json& entry, const std::string& where) {
  if (!fs::is_regular_file(path)) user_error("{}: listed in the manifest, but missing", path.string());
  const auto bytes = static_cast<int64_t>(fs::file_size(path));
  if (json_int(entry, "bytes", where, 0, INT64_MAX) != bytes ||
      json_string(entry, "sha256", where) != sha256_of_file(path))
    user_error("{}: differs from what the manifest says: damaged or changed since it was written", path.string());
}

bool stays_inside(const fs::path& name) {
  const auto normal = name.lexically_normal();
  return name.is_relative() && !normal.empty() && *normal.begin() != "..";
}

}  // namespace

void write_manifest(const fs::path& directory, const Json& head) {
  fs::remove(directory / kManifestName);
  Json manifest = head;
  Json& files = manifest["files"] = Json::object();
  for (const auto& name : files_below(directory)) {
    const auto path = directory / name;
    sync_file(path);
    files[name.string()] = {{"bytes", fs::file_size(path)}, {"sha256", sha256_of_file(path)}};
  }
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_directory()) fsync_directory(entry.path());
  write_file_atomically(directory / kManifestName, manifest.dump(2) + "\n");
}

void verify_manifest(const fs::path& directory) {
  const auto where = (directory / kManifestName).string();
  const Json manifest = read_json(directory / kManifestName);
  if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_object())
    throw UserError(where, "files", "an object", "none");
  for (const auto& [name, entry] : manifest["files"].items()) {
    if (!stays_inside(name)) user_error("{}: files: '{}' lies outside", where, printable(name));
    verify_file(directory / name, entry, where);
  }
}

void remove_unfinished_files(const fs::path& directory) {
  for (const auto& name : files_below(directory))
    if (name.extension().string().starts_with(".partial-")) fs::remove(directory / name);
}

}  // namespace espalier
