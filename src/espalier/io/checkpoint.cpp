#include "espalier/io/checkpoint.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/io/checkpoint_index.h"
#include "espalier/io/safetensors_names.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

bool is_index(const std::string& name) { return name.ends_with(".index.json"); }

// The name of the file to open in a directory, by the order that checkpoint.h gives.
std::string find_weights(const fs::path& directory) {
  for (const char* name :
       {"model.safetensors", kSafetensorsIndexName, "pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (file_exists(directory / name)) return name;
  std::vector<std::string> candidates;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error))
    if (entry.path().extension() == ".safetensors") candidates.push_back(entry.path().filename().string());
  if (candidates.size() == 1) return candidates[0];
  std::sort(candidates.begin(), candidates.end());
  throw UserError(
      directory.string(), "weights", "model.safetensors, its index, pytorch_model.bin, its index, or one *.safetensors",
      candidates.empty() ? "none of them" : fmt::format("{} files, {} …", candidates.size(), printable(candidates[0])));
}

std::vector<WeightFile> open_files(const fs::path& path) {
  if (is_index(path.filename().string())) return open_sharded(path);
  std::vector<WeightFile> files;
  files.push_back(open_weight_file(path));
  return files;
}

}  // namespace

std::shared_ptr<const Checkpoint> Checkpoint::open(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) user_error("{}: no such file or directory", path.string());
  std::shared_ptr<Checkpoint> result(new Checkpoint);
  result->path_ = path;
  const fs::path target = fs::is_directory(status) ? file_in_directory(path, find_weights(path)) : path;
  for (WeightFile& file : open_files(target)) result->add_file(std::move(file));
  TensorNames names;
  for (const std::string& name : result->names_) names.add(name, path.string());
  result->loaded_.resize(result->entries_.size());
  return result;
}

void Checkpoint::add_file(WeightFile file) {
  join_packed_weights(file);
  files_.push_back(file.file);
  if (metadata_.empty()) metadata_ = std::move(file.metadata);
  for (StoredTensor& tensor : file.tensors) {
    byte_size_ += tensor.stored_bytes;
    index_.emplace(tensor.name, entries_.size());
    names_.push_back(tensor.name);
    entries_.push_back(std::move(tensor));
  }
}

const StoredTensor& Checkpoint::entry(const std::string& name) const {
  const auto found = index_.find(name);
  if (found == index_.end())
    user_error("{}: no tensor '{}'{}", path_.string(), printable(name), did_you_mean(name, names_));
  return entries_[found->second];
}

const Tensor& Checkpoint::tensor(const std::string& name) const {
  const StoredTensor& stored = entry(name);
  const std::lock_guard lock(mutex_);
  Loaded& loaded = loaded_[static_cast<size_t>(&stored - entries_.data())];
  if (!loaded.present) loaded = {stored.load(), true};
  return loaded.tensor;
}

std::optional<PackedParts> Checkpoint::packed(const std::string& name) const {
  const StoredTensor& stored = entry(name);
  if (!stored.parts) return std::nullopt;
  return stored.parts();
}

std::vector<fs::path> Checkpoint::files() const {
  std::vector<fs::path> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

void Checkpoint::check_unchanged() const {
  for (const auto& file : files_) file->check_unchanged();
}

void Checkpoint::drop_pages(const Tensor& tensor) const {
  const std::byte* bytes = tensor.bytes();
  if (!bytes) return;
  const size_t size = tensor.byte_size();
  for (const auto& file : files_)
    if (bytes >= file->data() && bytes < file->data() + file->size()) return file->drop_pages(bytes, size);
  const std::lock_guard lock(mutex_);
  for (Loaded& loaded : loaded_)
    if (loaded.present && loaded.tensor.bytes() == bytes) loaded = {};
}

}  // namespace espalier
