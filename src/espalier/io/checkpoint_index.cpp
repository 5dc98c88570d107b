#include "espalier/io/checkpoint_index.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <unordered_map>

#include "espalier/core/error.h"
#include "espalier/core/json.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxShards = 10'000;

fs::path real_path(const fs::path& path) {
  std::error_code error;
  fs::path result = fs::canonical(path, error);
  if (error) user_error("{}: cannot open: {}", path.string(), error.message());
  return result;
}

// <model>/blobs for a directory at or below <model>/snapshots/<revision>, else empty.
fs::path blobs_of_cache(const fs::path& real_directory) {
  for (fs::path at = real_directory; at.has_relative_path(); at = at.parent_path())
    if (at.parent_path().filename() == "snapshots") return at.parent_path().parent_path() / "blobs";
  return {};
}

void check_plain_name(const std::string& name, const std::string& where) {
  const bool plain = !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
                     name.find('\\') == std::string::npos && name.find('\0') == std::string::npos && name.size() <= 255;
  if (!plain) user_error("{}: '{}' is not the plain name of a file in that directory", where, printable(name));
}

struct Index {
  std::map<std::string, std::string> shard_paths;  // by name
  std::vector<std::pair<std::string, std::string>> tensor_shards;
  std::optional<uint64_t> total_size;
};

// Some writers give the number as 1.3e10.
uint64_t total_size_of(const Json& value, const std::string& where) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  constexpr double kExact = 0x1p53;
  const double number = value.is_number_float() ? value.get<double>() : -1;
  if (!(number >= 0 && number <= kExact && number == std::floor(number)))
    throw UserError(where, "metadata.total_size", "a number of bytes", describe(value));
  return static_cast<uint64_t>(number);
}

Index read_index(const fs::path& path) {
  const std::string where = path.string();
  const Json document = read_json(path);
  const auto map = document.find("weight_map");
  if (map == document.end() || !map->is_object() || map->empty())
    throw UserError(where, "weight_map", "an object from tensor names to file names",
                    map == document.end() ? "none" : describe(*map));
  Index index;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string())
      throw UserError(where, fmt::format("weight_map: '{}'", printable(tensor)), "a file name", describe(shard));
    index.tensor_shards.emplace_back(tensor, shard.get<std::string>());
    index.shard_paths.emplace(index.tensor_shards.back().second, "");
    if (index.shard_paths.size() > kMaxShards) user_error("{}: more than {} shards", where, kMaxShards);
  }
  if (const auto metadata = document.find("metadata"); metadata != document.end() && metadata->is_object())
    if (const auto total = metadata->find("total_size"); total != metadata->end())
      index.total_size = total_size_of(*total, where);
  return index;
}

void find_shards(Index& index, const fs::path& index_path) {
  std::map<fs::path, std::string> real_paths;
  const fs::path directory = index_path.has_parent_path() ? index_path.parent_path() : fs::path(".");
  for (auto& [name, path] : index.shard_paths) {
    check_plain_name(name, index_path.string() + ": weight_map");
    if (!file_exists(directory / name))
      user_error("{}: the shard '{}' is missing", index_path.string(), printable(name));
    path = file_in_directory(directory, name).string();
    const auto [other, is_new] = real_paths.emplace(real_path(path), name);
    if (!is_new)
      user_error("{}: the shards '{}' and '{}' are the same file", index_path.string(), printable(other->second),
                 printable(name));
  }
}

// Every tensor in exactly the shard that the index names.
void check_weight_map(const Index& index, const std::vector<WeightFile>& shards, const std::string& where) {
  std::unordered_map<std::string, std::string> found;
  for (const WeightFile& shard : shards) {
    const std::string shard_name = shard.file->path().filename().string();
    for (const StoredTensor& tensor : shard.tensors) {
      const auto [other, is_new] = found.emplace(tensor.name, shard_name);
      if (!is_new)
        user_error("{}: the tensor '{}' stands in two shards, '{}' and '{}'", where, printable(tensor.name),
                   other->second, shard_name);
    }
  }
  for (const auto& [tensor, shard] : index.tensor_shards) {
    const auto holder = found.find(tensor);
    if (holder == found.end() || holder->second != shard)
      throw UserError(
          where, fmt::format("weight_map: '{}'", printable(tensor)), fmt::format("a tensor of '{}'", printable(shard)),
          holder == found.end() ? "no such tensor in any shard" : fmt::format("it in '{}'", holder->second));
    found.erase(holder);
  }
  if (!found.empty())
    user_error("{}: the index lacks the tensor '{}' of the shard '{}'", where, printable(found.begin()->first),
               found.begin()->second);
}

void check_total_size(const Index& index, const std::vector<WeightFile>& shards, const std::string& where) {
  uint64_t sum = 0;
  for (const WeightFile& shard : shards)
    for (const StoredTensor& tensor : shard.tensors) sum += tensor.stored_bytes;
  if (index.total_size && *index.total_size != sum)
    throw UserError(where, "metadata.total_size", fmt::format("{}, the sum of the tensors' bytes", sum),
                    std::to_string(*index.total_size));
}

}  // namespace

bool file_exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

fs::path file_in_directory(const fs::path& directory, const std::string& name) {
  check_plain_name(name, directory.string());
  const fs::path path = directory / name;
  const fs::path real_directory = real_path(directory), real_file = real_path(path);
  if (real_file.parent_path() == real_directory) return path;
  const fs::path blobs = blobs_of_cache(real_directory);
  if (!blobs.empty() && real_file.parent_path() == blobs) return path;
  user_error("{}: a symbolic link that leaves its directory, to {}", path.string(), real_file.string());
}

std::vector<WeightFile> open_sharded(const fs::path& index_path) {
  const std::string where = index_path.string();
  Index index = read_index(index_path);
  find_shards(index, index_path);
  std::vector<WeightFile> shards;
  for (const auto& [name, path] : index.shard_paths) shards.push_back(open_weight_file(path));
  check_weight_map(index, shards, where);
  check_total_size(index, shards, where);
  return shards;
}

void write_index(const fs::path& directory, const std::vector<std::pair<std::string, std::string>>& weight_map,
                 uint64_t total_size) {
  const std::map<std::string, std::string> sorted(weight_map.begin(), weight_map.end());
  ESP_ASSERT(sorted.size() == weight_map.size(), "a tensor stands twice in the index");
  std::string text =
      fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total_size);
  const char* separator = "\n";
  for (const auto& [tensor, shard] : sorted) {
    text += fmt::format("{}    {}: {}", separator, Json(tensor).dump(), Json(shard).dump());
    separator = ",\n";
  }
  write_file_atomically(directory / kSafetensorsIndexName, text + "\n  }\n}\n");
}

}  // namespace espalier
