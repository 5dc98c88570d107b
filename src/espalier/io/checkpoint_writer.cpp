#include "espalier/io/checkpoint_writer.h"

#include "espalier/core/error.h"
#include "espalier/io/checkpoint_index.h"

namespace espalier {
namespace {

uint64_t bytes_of(const TensorSpec& spec) {
  return static_cast<uint64_t>(element_count(spec.shape)) * size_of(spec.dtype);
}

// Fills shard after shard; a tensor larger than a shard gets one of its own.
std::vector<std::vector<TensorSpec>> split(const std::vector<TensorSpec>& specs, uint64_t max_bytes) {
  std::vector<std::vector<TensorSpec>> shards(1);
  uint64_t used = 0;
  for (const TensorSpec& spec : specs) {
    const uint64_t bytes = bytes_of(spec);
    if (!shards.back().empty() && used + bytes > max_bytes) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().push_back(spec);
    used += bytes;
  }
  return shards;
}

std::string shard_name(size_t index, size_t count) {
  return count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::filesystem::path directory, const std::vector<TensorSpec>& specs,
                                   const std::map<std::string, std::string>& metadata, uint64_t max_shard_bytes)
    : directory_(std::move(directory)) {
  auto parts = split(specs, max_shard_bytes);
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string name = shard_name(i, parts.size());
    for (const TensorSpec& spec : parts[i]) {
      ESP_ASSERT(shard_of_.emplace(spec.name, i).second, "tensor '{}' twice", spec.name);
      weight_map_.emplace_back(spec.name, name);
      total_size_ += bytes_of(spec);
    }
    shards_.push_back({name, std::make_unique<SafetensorsWriter>(directory_ / name, std::move(parts[i]), metadata)});
  }
}

void CheckpointWriter::write(const std::string& name, const Tensor& tensor) {
  const auto found = shard_of_.find(name);
  ESP_ASSERT(found != shard_of_.end(), "tensor '{}' was not announced", name);
  shards_[found->second].writer->write(name, tensor);
}

void CheckpointWriter::commit() {
  for (Shard& shard : shards_) shard.writer->commit();
  if (shards_.size() > 1) write_index(directory_, weight_map_, total_size_);
}

std::vector<std::filesystem::path> CheckpointWriter::files() const {
  std::vector<std::filesystem::path> paths;
  for (const Shard& shard : shards_) paths.push_back(directory_ / shard.name);
  if (shards_.size() > 1) paths.push_back(directory_ / kSafetensorsIndexName);
  return paths;
}

}  // namespace espalier
