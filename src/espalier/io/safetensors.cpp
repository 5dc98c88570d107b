#include "espalier/io/safetensors.h"

#include "espalier/core/error.h"
#include "espalier/io/mapped_tensor.h"

namespace espalier {

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  std::shared_ptr<SafetensorsFile> result(new SafetensorsFile);
  result->file_ = MappedFile::open(path);
  result->header_ = parse_safetensors({result->file_->data(), result->file_->size()}, path.string());
  const auto& tensors = result->header_.tensors;
  result->index_.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) result->index_.emplace(tensors[i].name, i);
  return result;
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &header_.tensors[found->second];
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  const TensorInfo* info = find(name);
  if (!info) user_error("{}: no tensor '{}'", file_->path().string(), printable(name));
  return tensor(*info);
}

Tensor SafetensorsFile::tensor(const TensorInfo& info) const {
  return mapped_tensor(info.dtype, info.shape, file_, header_.data_begin + info.begin);
}

}  // namespace espalier
