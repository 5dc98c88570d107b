// The safetensors format: 8 bytes N (little-endian), N bytes of JSON header, then the tensors' bytes without holes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "espalier/core/file.h"
#include "espalier/core/tensor.h"

namespace espalier {

struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  bool aligned = false;  // in the file, to 64 bytes; its size must be a multiple of that
};

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes within the data part
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in offset order
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // position in the file of the data part
};

constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // as the format's own reader
constexpr size_t kMaxSafetensorsTensors = 1'000'000;
constexpr size_t kMaxTensorRank = 32;

// Reads the header at the start of `file` and proves that names, types, shapes and offsets fit each other and the
// file's size; touches no byte of the data part. UserError: `where`, tensor, field, expected, found.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& where);

class SafetensorsFile {
 public:
  static std::shared_ptr<const SafetensorsFile> open(const std::filesystem::path& path);

  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const TensorInfo* find(std::string_view name) const;  // nullptr: absent
  Tensor tensor(std::string_view name) const;           // a view that shares the map (see mapped_tensor.h); UserError
  Tensor tensor(const TensorInfo& info) const;
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const MappedFile& file() const { return *file_; }
  std::shared_ptr<const MappedFile> shared_file() const { return file_; }

 private:
  SafetensorsFile() = default;
  std::shared_ptr<const MappedFile> file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_;  // into header_.tensors
};

// Writes the header at once, then takes the tensors in any order. The file holds those to align first, the others by
// falling element size and otherwise as given, so that each is aligned for its type; the data part begins at a multiple of 64. The same specs,
// metadata and tensors give the same bytes. Metadata gets "format": "pt" unless it has a format, for Hugging Face's
// loader asks for one.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> specs,
                    std::map<std::string, std::string> metadata = {});

  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in file order
  // Each spec once; dtype and shape as announced.
  void write(const std::string& name, const Tensor& tensor);
  void commit();  // after all were written

 private:
  AtomicFile file_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> unwritten_;  // into tensors_
  uint64_t data_begin_ = 0;
};

}  // namespace espalier
