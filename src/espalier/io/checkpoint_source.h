// One file of weights, whatever its format, as a list of tensors that know how to load themselves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "espalier/core/file.h"
#include "espalier/core/tensor.h"
#include "espalier/io/weight_pack.h"

namespace espalier {

struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t stored_bytes = 0;
  std::function<Tensor()> load;  // a view where possible; keeps what it needs alive
  std::function<PackedParts()> parts = nullptr;  // of a weight packed as weight_pack.h says: views, checked; else empty
};

struct WeightFile {
  std::shared_ptr<const MappedFile> file;
  std::vector<StoredTensor> tensors;  // as stored, in file order
  std::map<std::string, std::string> metadata;
};

// .safetensors, .bin, .pt, .pth or .th. UserError.
WeightFile open_weight_file(const std::filesystem::path& path);

// Replaces the parts of a packed weight by the weight wherever the metadata says so.
void join_packed_weights(WeightFile& file);

}  // namespace espalier
