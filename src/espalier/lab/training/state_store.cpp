#include "espalier/lab/training/state_store.h"

#include "espalier/core/error.h"
#include "espalier/io/safetensors.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr const char* kValues = "espalier.state";

DType stored_type(const std::string& name, const at::Tensor& tensor) {
  if (tensor.scalar_type() == at::kFloat) return DType::kF32;
  if (tensor.scalar_type() == at::kLong) return DType::kI64;
  ESP_ASSERT(tensor.scalar_type() == at::kBool, "state {}: neither fp32, int64 nor bool", name);
  return DType::kBool;
}

}  // namespace

const at::Tensor& StateStore::tensor(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw UserError("checkpoint", "tensor", name, "none of this name");
  return found->second;
}

StateStore StateStore::clone() const {
  StateStore copy;
  copy.values = values;
  for (const auto& [name, tensor] : tensors) copy.tensors[name] = tensor.detach().clone();
  return copy;
}

void StateStore::put(const std::string& prefix, const StateStore& other) {
  for (const auto& [name, tensor] : other.tensors) tensors[prefix + "/" + name] = tensor;
  values[prefix] = other.values;
}

StateStore StateStore::part(const std::string& prefix) const {
  StateStore result;
  const std::string start = prefix + "/";
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(start)) result.tensors[name.substr(start.size())] = tensor;
  if (const auto found = values.find(prefix); found != values.end()) result.values = *found;
  return result;
}

void StateStore::save(const std::filesystem::path& path) const {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, stored_type(name, tensor), tensor.sizes().vec()});
  SafetensorsWriter writer(path, specs, {{kValues, values.dump()}});
  for (const auto& info : writer.tensors()) writer.write(info.name, from_torch(tensors.at(info.name), info.dtype));
  writer.commit();
}

StateStore StateStore::load(const std::filesystem::path& path) {
  const auto file = SafetensorsFile::open(path);
  StateStore state;
  const auto values = file->metadata().find(kValues);
  if (values == file->metadata().end()) throw UserError(path.string(), "metadata", kValues, "none of this name");
  state.values = parse_json(values->second, path.string());
  for (const auto& info : file->tensors()) state.tensors[info.name] = to_torch(file->tensor(info)).clone();
  return state;
}

}  // namespace espalier
