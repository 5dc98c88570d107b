// Weights in several files: finding them, and the index that says which tensor lies where.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "espalier/io/checkpoint_source.h"

namespace espalier {

constexpr char kSafetensorsIndexName[] = "model.safetensors.index.json";

// directory/name, for a name that a user or a file gives. UserError unless name is a plain file name and the file is a
// regular one of this directory. A symbolic link must end in the same directory; the one exception is the cache of
// Hugging Face's hub, where <model>/snapshots/<revision>/… links to <model>/blobs/…
std::filesystem::path file_in_directory(const std::filesystem::path& directory, const std::string& name);

bool file_exists(const std::filesystem::path& path);  // false too where one may not look

// The files of an index, by name, all their tensors as stored. UserError: a missing shard, a tensor in two shards, one
// that only the index or only the shard has, two shards that are one file, a total_size that is not the sum of the
// tensors' bytes.
std::vector<WeightFile> open_sharded(const std::filesystem::path& index_path);

// Writes directory/model.safetensors.index.json; after all shards, for it makes the set valid.
void write_index(const std::filesystem::path& directory,
                 const std::vector<std::pair<std::string, std::string>>& weight_map, uint64_t total_size);

}  // namespace espalier
