// Masks as files. Everything in the file is checked against everything else before it is believed.
#include <algorithm>
#include <set>

#include "espalier/core/choice.h"
#include "espalier/core/error.h"
#include "espalier/io/safetensors.h"
#include "espalier/structure/mask.h"

namespace espalier {
namespace {

constexpr char kMetadataKey[] = "espalier.mask";
constexpr std::pair<const char*, HeadUnit> kHeadUnits[] = {{"kv_group", HeadUnit::kKvGroup},
                                                           {"query_head", HeadUnit::kQueryHead}};
constexpr std::pair<const char*, GroupConvPolicy> kGroupConvs[] = {{"keep_groups", GroupConvPolicy::kKeepGroups},
                                                                   {"drop_groups", GroupConvPolicy::kDropGroups}};
constexpr std::pair<const char*, SplitPolicy> kSplits[] = {{"outer", SplitPolicy::kOuter}, {"inner", SplitPolicy::kInner}};
constexpr std::pair<const char*, SubLayer::Kind> kBranchKinds[] = {{"attn", SubLayer::Kind::kAttention},
                                                                   {"ffn", SubLayer::Kind::kFfn}};
constexpr std::pair<const char*, GroupKind> kGroupKinds[] = {{"residual", GroupKind::kResidual},
                                                             {"heads", GroupKind::kHeads},
                                                             {"neurons", GroupKind::kNeurons},
                                                             {"other", GroupKind::kOther}};

std::string weights_name(const std::string& param) { return "weights/" + param; }
std::string units_name(const std::string& label) { return "units/" + label; }

Tensor byte_tensor(const std::vector<uint8_t>& bytes) {
  Tensor tensor(DType::kU8, {static_cast<int64_t>(bytes.size())});
  std::copy(bytes.begin(), bytes.end(), tensor.mutable_as<uint8_t>().begin());
  return tensor;
}

Json describe_mask(const Mask& mask) {
  Json weights = Json::object(), units = Json::array(), branches = Json::array();
  for (const auto& [name, entry] : mask.weights) weights[name] = entry.shape;
  for (const auto& unit : mask.units)
    units.push_back(
        {{"label", unit.label}, {"kind", name_of(unit.kind)}, {"block", unit.block}, {"sets", unit.keep.size()}});
  for (const Branch& branch : mask.branches)
    branches.push_back({{"block", branch.block}, {"kind", name_of(branch.kind)}});
  return {{"format", 1},
          {"model", mask.model},
          {"head_unit", choice_name(mask.head_unit, kHeadUnits)},
          {"group_conv", choice_name(mask.group_conv, kGroupConvs)},
          {"split", choice_name(mask.split, kSplits)},
          {"weights", weights},
          {"units", units},
          {"branches", branches}};
}

// The bytes of a bit list of `count` flags; bits beyond the last flag must be zero.
std::vector<uint8_t> read_bits(const SafetensorsFile& file, const std::string& name, int64_t count,
                               const std::string& where) {
  const TensorInfo* info = file.find(name);
  const Shape expected{(count + 7) / 8};
  if (!info || info->dtype != DType::kU8 || info->shape != expected)
    throw UserError(where, fmt::format("tensor '{}'", printable(name)), fmt::format("U8 {}", to_string(expected)),
                    info ? fmt::format("{} {}", name_of(info->dtype), to_string(info->shape)) : "nothing");
  const Tensor tensor = file.tensor(*info);
  const auto bytes = tensor.as<uint8_t>();
  if (count % 8 != 0 && bytes.back() >> (count % 8))
    user_error("{}: tensor '{}': bits after the last flag", where, printable(name));
  return {bytes.begin(), bytes.end()};
}

const Json& list_of(const Json& object, const std::string& key, bool array, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || (array ? !found->is_array() : !found->is_object()))
    throw UserError(where, key, array ? "a list" : "an object", found == object.end() ? "nothing" : describe(*found));
  return *found;
}

Shape read_shape(const Json& value, const std::string& name, const std::string& where) {
  Shape shape;
  int64_t count = 1;
  bool good = value.is_array() && value.size() <= kMaxTensorRank;
  for (size_t i = 0; good && i < value.size(); ++i) {
    good = value[i].is_number_integer() && value[i] >= 0 && value[i] <= INT32_MAX;
    if (good) shape.push_back(value[i].get<int64_t>());
    good = good && !__builtin_mul_overflow(count, shape.back(), &count);
  }
  if (!good) throw UserError(where, fmt::format("shape of '{}'", printable(name)), "a list of sizes", describe(value));
  return shape;
}

UnitMask read_unit(const SafetensorsFile& file, const Json& entry, const std::string& where) {
  if (!entry.is_object()) throw UserError(where, "unit", "an object", describe(entry));
  UnitMask unit;
  unit.label = json_string(entry, "label", where);
  unit.kind = choice_from_name(where + ": kind", json_string(entry, "kind", where), kGroupKinds);
  unit.block = static_cast<int>(json_int(entry, "block", where, -1, INT32_MAX));
  const int64_t sets = json_int(entry, "sets", where, 1, INT32_MAX);
  const auto bits = read_bits(file, units_name(unit.label), sets, where);
  for (int64_t i = 0; i < sets; ++i) unit.keep.push_back((bits[static_cast<size_t>(i / 8)] >> (i % 8)) & 1);
  return unit;
}

Branch read_branch(const Json& entry, const std::string& where) {
  if (!entry.is_object()) throw UserError(where, "branch", "an object", describe(entry));
  return {static_cast<int>(json_int(entry, "block", where, 0, INT32_MAX)),
          choice_from_name(where + ": kind", json_string(entry, "kind", where), kBranchKinds)};
}

}  // namespace

void Mask::save(const std::filesystem::path& path) const {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [name, entry] : weights) tensors.emplace_back(weights_name(name), byte_tensor(entry.bits));
  for (const auto& unit : units)
    tensors.emplace_back(units_name(unit.label),
                         byte_tensor(WeightMask({static_cast<int64_t>(unit.keep.size())}, unit.keep).bits));
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, tensor.dtype(), tensor.shape()});
  SafetensorsWriter writer(path, specs, {{kMetadataKey, describe_mask(*this).dump()}});
  for (const auto& [name, tensor] : tensors) writer.write(name, tensor);
  writer.commit();
}

Mask Mask::load(const std::filesystem::path& path) {
  const auto file = SafetensorsFile::open(path);
  const std::string where = path.string();
  const auto text = file->metadata().find(kMetadataKey);
  if (text == file->metadata().end()) user_error("{}: not a mask: the metadata lacks '{}'", where, kMetadataKey);
  const Json header = parse_json(text->second, where + ": " + kMetadataKey);
  if (!header.is_object()) throw UserError(where, kMetadataKey, "an object", describe(header));
  json_int(header, "format", where, 1, 1);
  Mask mask;
  mask.model = json_string(header, "model", where);
  mask.head_unit = choice_from_name(where + ": head_unit", json_string(header, "head_unit", where), kHeadUnits);
  // Masks of before there were such choices do not say.
  mask.group_conv = choice_from_name(where + ": group_conv", json_string_or(header, "group_conv", where, "keep_groups"), kGroupConvs);
  mask.split = choice_from_name(where + ": split", json_string_or(header, "split", where, "outer"), kSplits);
  for (const auto& [name, shape] : list_of(header, "weights", false, where).items()) {
    WeightMask& entry = mask.weights[name];
    entry.shape = read_shape(shape, name, where);
    entry.bits = read_bits(*file, weights_name(name), entry.count(), where);
  }
  std::set<std::string> labels;
  for (const Json& entry : list_of(header, "units", true, where)) {
    mask.units.push_back(read_unit(*file, entry, where));
    if (!labels.insert(mask.units.back().label).second)
      user_error("{}: the group '{}' has two masks", where, printable(mask.units.back().label));
  }
  for (const Json& entry : list_of(header, "branches", true, where)) mask.branches.push_back(read_branch(entry, where));
  if (file->tensors().size() != mask.weights.size() + mask.units.size())
    throw UserError(where, "tensors", fmt::format("{}", mask.weights.size() + mask.units.size()),
                    fmt::format("{}", file->tensors().size()));
  return mask;
}

}  // namespace espalier
