#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/json.h"
#include "espalier/io/safetensors.h"
#include "espalier/io/safetensors_names.h"

namespace espalier {
namespace {

constexpr size_t kDataAlignment = 64;

std::vector<TensorInfo> lay_out(std::vector<TensorSpec> specs) {
  std::stable_sort(specs.begin(), specs.end(),
                   [](const TensorSpec& a, const TensorSpec& b) {
                     if (a.aligned || b.aligned) return a.aligned && !b.aligned;
                     return size_of(a.dtype) > size_of(b.dtype);
                   });
  std::vector<TensorInfo> tensors;
  uint64_t at = 0;
  for (TensorSpec& spec : specs) {
    const uint64_t bytes = static_cast<uint64_t>(element_count(spec.shape)) * size_of(spec.dtype);
    ESP_ASSERT(!spec.aligned || bytes % kDataAlignment == 0, "{} bytes to align of '{}'", bytes, spec.name);
    tensors.push_back({std::move(spec.name), spec.dtype, std::move(spec.shape), at, at + bytes});
    at += bytes;
  }
  return tensors;
}

std::string quoted(const std::string& text) { return Json(text).dump(); }

std::string header_of(const std::vector<TensorInfo>& tensors, const std::map<std::string, std::string>& metadata) {
  std::string text = "{\"__metadata__\":" + Json(metadata).dump();
  for (const TensorInfo& tensor : tensors)
    text += fmt::format(",{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", quoted(tensor.name),
                        name_of(tensor.dtype), fmt::join(tensor.shape, ","), tensor.begin, tensor.end);
  text += '}';
  const size_t beyond = (sizeof(uint64_t) + text.size()) % kDataAlignment;
  if (beyond > 0) text.append(kDataAlignment - beyond, ' ');
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> specs,
                                     std::map<std::string, std::string> metadata)
    : file_(path), tensors_(lay_out(std::move(specs))) {
  TensorNames names;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    names.add(tensors_[i].name, path.string());
    ESP_ASSERT(tensors_[i].name != "__metadata__");
    unwritten_.emplace(tensors_[i].name, i);
  }
  metadata.try_emplace("format", "pt");
  const std::string header = header_of(tensors_, metadata);
  const uint64_t length = header.size();
  ESP_ASSERT(length <= kMaxSafetensorsHeaderBytes && tensors_.size() <= kMaxSafetensorsTensors);
  file_.write(&length, sizeof(length));
  file_.write(header);
  data_begin_ = file_.bytes_written();
}

void SafetensorsWriter::write(const std::string& name, const Tensor& tensor) {
  const auto found = unwritten_.find(name);
  ESP_ASSERT(found != unwritten_.end(), "tensor '{}' was not announced or is written twice", name);
  const TensorInfo& info = tensors_[found->second];
  ESP_ASSERT(info.dtype == tensor.dtype() && info.shape == tensor.shape(), "'{}' was announced as {} {}, now {} {}",
             name, name_of(info.dtype), to_string(info.shape), name_of(tensor.dtype()), to_string(tensor.shape()));
  file_.write_at(data_begin_ + info.begin, tensor.bytes(), tensor.byte_size());
  unwritten_.erase(found);
}

void SafetensorsWriter::commit() {
  ESP_ASSERT(unwritten_.empty(), "tensor '{}' was not written", unwritten_.begin()->first);
  file_.commit();
}

}  // namespace espalier
