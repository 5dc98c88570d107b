// Writes the weights of a model directory as Hugging Face's loaders expect them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "espalier/io/safetensors.h"

namespace espalier {

constexpr uint64_t kDefaultShardBytes = 5'000'000'000;

// model.safetensors, or model-00001-of-0000N.safetensors and their index if the tensors have more than
// max_shard_bytes. Tensors go into shards in the given order. Nothing is visible under its final name before commit(),
// which publishes the shards and last the index.
class CheckpointWriter {
 public:
  // The directory exists. Metadata goes into every shard.
  CheckpointWriter(std::filesystem::path directory, const std::vector<TensorSpec>& specs,
                   const std::map<std::string, std::string>& metadata = {},
                   uint64_t max_shard_bytes = kDefaultShardBytes);

  void write(const std::string& name, const Tensor& tensor);  // each spec once, in any order
  void commit();
  std::vector<std::filesystem::path> files() const;  // that commit() publishes, the index included

 private:
  struct Shard {
    std::string name;
    std::unique_ptr<SafetensorsWriter> writer;
  };
  std::filesystem::path directory_;
  std::vector<Shard> shards_;
  std::unordered_map<std::string, size_t> shard_of_;  // tensor -> shard
  std::vector<std::pair<std::string, std::string>> weight_map_;
  uint64_t total_size_ = 0;
};

}  // namespace espalier
