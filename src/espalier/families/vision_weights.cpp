#include "espalier/families/vision_weights.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/families/builder.h"

namespace espalier {
namespace {

constexpr const char* kWrapper = "module.";
constexpr int64_t kMostModuleWidth = int64_t{1} << 26;

double draw(Rng& rng, const Initial& initial) {
  switch (initial.kind) {
    case Initial::Kind::kConstant:
      return initial.scale;
    case Initial::Kind::kNormal:
      return initial.scale * rng.normal();
    case Initial::Kind::kUniform:
      return rng.uniform(-initial.scale, initial.scale);
    case Initial::Kind::kTruncatedNormal: {
      double value = rng.normal();
      while (std::abs(value) > 2) value = rng.normal();
      return initial.scale * value;
    }
  }
  return 0;
}

Tensor initial_values(const std::string& name, const Shape& shape, const Initial& initial, uint64_t seed) {
  Tensor tensor(DType::kF32, shape);
  Rng rng(seed, "initial weights/" + name);
  for (float& value : tensor.mutable_as<float>()) value = static_cast<float>(draw(rng, initial));
  return tensor;
}

std::vector<int64_t> read_indices(const Json& list, const std::string& key, const std::string& where) {
  if (!list.is_array()) throw UserError(where, key, "a list of channel numbers", describe(list));
  std::vector<int64_t> indices;
  for (const Json& entry : list) {
    if (!entry.is_number_integer() || entry.get<int64_t>() < 0 || entry.get<int64_t>() > kMostModuleWidth)
      throw UserError(where, key, "channel numbers", describe(entry));
    indices.push_back(entry.get<int64_t>());
  }
  return indices;
}

}  // namespace

std::string wrapper_prefix(const Checkpoint& checkpoint) {
  const auto& names = checkpoint.names();
  const bool wrapped =
      !names.empty() && std::all_of(names.begin(), names.end(), [](auto& name) { return name.starts_with(kWrapper); });
  return wrapped ? kWrapper : "";
}

WeightSource::WeightSource(const Checkpoint& checkpoint, const Json& config, std::string where)
    : checkpoint_(&checkpoint), where_(std::move(where)), prefix_(wrapper_prefix(checkpoint)) {
  for (const auto& name : checkpoint.names()) names_.insert(name.substr(prefix_.size()));
  read_block(config);
}

WeightSource::WeightSource(uint64_t seed, const Json& config, std::string where)
    : seed_(seed), where_(std::move(where)) {
  read_block(config);
}

void WeightSource::read_block(const Json& config) {
  const auto block = config.find("espalier");
  if (block == config.end()) return;
  const std::string at = where_ + ": espalier";
  if (!block->is_object()) throw UserError(where_, "espalier", "an object", describe(*block));
  json_int(*block, "format", at, 1, 1);
  auto entries = [&](const char* key) -> Json {
    const auto found = block->find(key);
    if (found == block->end()) return Json::object();
    if (!found->is_object()) throw UserError(at, key, "an object", describe(*found));
    return *found;
  };
  const Json widths = entries("widths"), indices = entries("indices");
  for (const auto& [module, width] : widths.items()) widths_[module] = json_int(widths, module, at, 1, kMostModuleWidth);
  for (const auto& [node, list] : indices.items()) indices_[node] = read_indices(list, node, at);
  const auto removed = block->find("removed");
  if (removed == block->end()) return;
  if (!removed->is_array()) throw UserError(at, "removed", "a list of branches", describe(*removed));
  for (const Json& branch : *removed) {
    if (!branch.is_string()) throw UserError(at, "removed", "names of branches", describe(branch));
    removed_.insert(branch.get<std::string>());
  }
}

int64_t WeightSource::count(const std::string& pattern, const std::string& key, int64_t configured) const {
  if (is_fresh()) return configured;
  const int64_t present = blocks_present(names(), pattern);
  if (present != configured)
    throw UserError(where_, key, fmt::format("{}, as many as the checkpoint has tensors for ('{}')", present, pattern),
                    fmt::format("{}", configured));
  return present;
}

const Shape& WeightSource::shape(const std::string& tensor) const {
  ESP_ASSERT(!is_fresh(), "fresh weights have no shapes of their own");
  if (!has(tensor))
    user_error("{}: the architecture needs the tensor '{}', which the checkpoint lacks", where_, tensor);
  return checkpoint_->shape(stored_name(tensor));
}

int64_t WeightSource::out_width(const std::string& module, const std::string& tensor, Width width) {
  const int64_t stated = stated_width(module, 0);
  const int64_t size = width.fixed   ? width.value
                       : !is_fresh() ? stored_width(tensor)
                       : stated > 0  ? stated
                                     : width.value;
  if (stated > 0 && stated != size)
    throw UserError(where_, fmt::format("espalier: widths: {}", module),
                    fmt::format("{}, as {}", size, width.fixed ? "its neighbours have" : "its tensor has"),
                    fmt::format("{}", stated));
  return size;
}

int64_t WeightSource::stored_width(const std::string& tensor) const {
  const Shape& found = shape(tensor);
  const int64_t size = found.empty() ? 0 : found[0];
  if (size < 1 || size > kMostModuleWidth)
    throw UserError(where_, fmt::format("shape of the tensor '{}'", tensor),
                    fmt::format("1 to {} output channels", kMostModuleWidth), to_string(found));
  return size;
}

int64_t WeightSource::stated_width(const std::string& module, int64_t otherwise) {
  const auto stated = widths_.find(module);
  if (stated == widths_.end()) return otherwise;
  used_.insert(module);
  return stated->second;
}

const std::vector<int64_t>* WeightSource::indices(const std::string& node) {
  const auto found = indices_.find(node);
  if (found == indices_.end()) return nullptr;
  used_.insert(node);
  return &found->second;
}

bool WeightSource::is_removed(const std::string& branch) {
  if (!removed_.count(branch)) return false;
  used_.insert(branch);
  return true;
}

void WeightSource::declare(Graph& graph, const std::string& tensor, const Shape& expected,
                           const Initial& initial) const {
  if (is_fresh()) {
    if (graph.has_parameter(tensor)) return;
    graph.add_parameter({tensor, DType::kF32, expected, [tensor, expected, initial, seed = seed_] {
                           return initial_values(tensor, expected, initial, seed);
                         }});
    return;
  }
  const Shape& found = shape(tensor);
  const std::string stored = stored_name(tensor);
  const DType dtype = checkpoint_->dtype(stored);
  if (found != expected)
    throw UserError(where_, fmt::format("shape of the tensor '{}'", tensor), to_string(expected), to_string(found));
  if (!is_floating(dtype))
    throw UserError(where_, fmt::format("type of the tensor '{}'", tensor), "a floating type",
                    std::string(name_of(dtype)));
  if (graph.has_parameter(tensor)) return;
  graph.add_parameter(
      {tensor, dtype, found, [owner = checkpoint_->shared_from_this(), stored] { return owner->tensor(stored); }});
}

void WeightSource::check_all_used(const Graph& graph, bool (*ignored)(const std::string& tensor)) const {
  for (const auto& tensor : names_)
    if (!graph.has_parameter(tensor) && !ignored(tensor))
      user_error("{}: the checkpoint holds the tensor '{}' {}, which this architecture does not have", where_,
                 printable(tensor), to_string(shape(tensor)));
  auto check = [&](const char* kind, const std::string& name) {
    if (!used_.count(name)) user_error("{}: espalier: {}: the architecture has no '{}'", where_, kind, printable(name));
  };
  for (const auto& [name, width] : widths_) check("widths", name);
  for (const auto& [name, list] : indices_) check("indices", name);
  for (const auto& name : removed_) check("removed", name);
}

}  // namespace espalier
