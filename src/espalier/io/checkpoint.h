// The weights of one model, however they are stored.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "espalier/core/file.h"
#include "espalier/core/tensor.h"
#include "espalier/io/checkpoint_source.h"

namespace espalier {

class Checkpoint : public std::enable_shared_from_this<Checkpoint> {
 public:
  // A directory: model.safetensors, else model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json,
  // else the only *.safetensors in it. Or a file: .safetensors, .bin, .pt, .pth, .th, .index.json. Reads headers, no
  // weights. Files of a directory may be symbolic links only as checkpoint_index.h allows. UserError.
  static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& directory_or_file);

  // File order within shards, shards by file name. A packed weight (bitmap_pack.h) has one name, its own.
  const std::vector<std::string>& names() const { return names_; }
  bool has(const std::string& name) const { return index_.count(name) > 0; }
  // UserError naming the checkpoint and near names if absent.
  const Shape& shape(const std::string& name) const { return entry(name).shape; }
  DType dtype(const std::string& name) const { return entry(name).dtype; }
  // A view of the mapped file. Weights that are packed, strided or not aligned are copied at their first use and kept
  // until drop_pages(). The reference lives as long as the checkpoint. Safe from several threads.
  const Tensor& tensor(const std::string& name) const;

  // The parts of a weight that is packed in the engine's layout (weight_pack.h), as they lie in the file and checked; nothing
  // for other weights. UserError.
  std::optional<PackedParts> packed(const std::string& name) const;

  uint64_t byte_size() const { return byte_size_; }                                 // of all tensors as stored
  const std::map<std::string, std::string>& metadata() const { return metadata_; }  // of the first file that has any
  const std::filesystem::path& path() const { return path_; }
  std::vector<std::filesystem::path> files() const;

  void check_unchanged() const;  // UserError if a file was written since open()
  // The caller is done with this tensor of the checkpoint for now: a view's pages are given back and come again from
  // the file at the next touch; the memory of a copy is freed, which leaves references to it undefined (copies of the
  // Tensor stay), until tensor() makes it anew.
  void drop_pages(const Tensor& tensor) const;

 private:
  Checkpoint() = default;
  void add_file(WeightFile file);
  const StoredTensor& entry(const std::string& name) const;

  struct Loaded {
    Tensor tensor;
    bool present = false;
  };
  std::filesystem::path path_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<StoredTensor> entries_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, size_t> index_;  // into entries_ and loaded_
  std::map<std::string, std::string> metadata_;
  uint64_t byte_size_ = 0;
  mutable std::mutex mutex_;  // of loaded_
  mutable std::vector<Loaded> loaded_;
};

}  // namespace espalier
