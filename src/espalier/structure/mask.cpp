#include "espalier/structure/mask.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/graph/operator.h"
#include "espalier/structure/surgery.h"

namespace espalier {
namespace {

// New weights of the parameters that a mask touches; each is copied once.
class ZeroedWeights {
 public:
  explicit ZeroedWeights(Graph& graph) : graph_(graph) {}

  Tensor& of(const std::string& name) {
    auto [entry, fresh] = tensors_.try_emplace(name);
    if (fresh) {
      const Tensor dense = graph_.parameter(name).load();
      entry->second = Tensor(dense.dtype(), dense.shape());
      std::memcpy(entry->second.mutable_bytes(), dense.bytes(), dense.byte_size());
    }
    return entry->second;
  }
  void assign() {
    for (auto& [name, tensor] : tensors_) graph_.parameter(name).assign(std::move(tensor));
  }

 private:
  Graph& graph_;
  std::map<std::string, Tensor> tensors_;
};

void zero_elements(Tensor& tensor, const WeightMask& mask) {
  const size_t size = size_of(tensor.dtype());
  std::byte* bytes = tensor.mutable_bytes();
  for (int64_t i = 0; i < tensor.count(); ++i)
    if (!mask.keeps(i)) std::memset(bytes + static_cast<size_t>(i) * size, 0, size);
}

void zero_slices(Tensor& tensor, const CouplingMember& member, const std::vector<uint8_t>& keep) {
  size_t inner = size_of(tensor.dtype()), outer = 1;
  for (size_t i = member.axis + 1; i < tensor.shape().size(); ++i) inner *= static_cast<size_t>(tensor.dim(i));
  for (size_t i = 0; i < member.axis; ++i) outer *= static_cast<size_t>(tensor.dim(i));
  const size_t size = member.set_of_index.size();
  std::byte* bytes = tensor.mutable_bytes();
  for (size_t i = 0; i < size; ++i) {
    const int32_t set = member.set_of_index[i];
    if (set < 0 || keep[static_cast<size_t>(set)]) continue;
    for (size_t o = 0; o < outer; ++o) std::memset(bytes + (o * size + i) * inner, 0, inner);
  }
}

const CouplingGroup& masked_group(const Coupling& coupling, const UnitMask& unit) {
  const CouplingGroup* group = coupling.find(unit.label);
  ESP_ASSERT(group && group->set_count == static_cast<int64_t>(unit.keep.size()), "unit mask {}", unit.label);
  return *group;
}

// keep flags by group id; a group without a mask has none
std::vector<std::vector<uint8_t>> flags_by_group(const Coupling& coupling, const Mask& mask) {
  std::vector<std::vector<uint8_t>> flags(coupling.groups.size());
  for (const auto& unit : mask.units) flags[static_cast<size_t>(masked_group(coupling, unit).id)] = unit.keep;
  return flags;
}

void mask_statistics(Graph& graph, const Coupling& coupling, const std::vector<std::vector<uint8_t>>& flags) {
  for (const auto& site : coupling.statistics) {
    std::vector<float> kept(site.positions.size(), 1);
    for (size_t i = 0; i < kept.size(); ++i) {
      const SetRef ref = site.positions[i];
      if (ref.group >= 0 && !flags[static_cast<size_t>(ref.group)].empty())
        kept[i] = flags[static_cast<size_t>(ref.group)][static_cast<size_t>(ref.set)] ? 1 : 0;
    }
    if (std::all_of(kept.begin(), kept.end(), [](float value) { return value == 1; })) continue;
    auto node =
        std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) { return n.name == site.node; });
    if (node->has_param("mask")) continue;  // the mask of an earlier round is a member of the group: zeroed with it
    const std::string name = site.node + ".mask";
    graph.add_parameter(name, Tensor::from_floats({static_cast<int64_t>(kept.size())}, kept));
    node->params["mask"] = name;
  }
}

std::vector<SubLayer> sublayers_of(const Graph& graph, const std::vector<Branch>& branches) {
  std::vector<SubLayer> found;
  for (auto& sublayer : find_sublayers(graph))
    if (std::count(branches.begin(), branches.end(), Branch{sublayer.block, sublayer.kind}))
      found.push_back(std::move(sublayer));
  return found;
}

void apply_weight_masks(ZeroedWeights& zeroed, const Mask& mask) {
  for (const auto& [name, weights] : mask.weights) zero_elements(zeroed.of(name), weights);
}

}  // namespace

std::string model_hash(const Graph& graph) {
  std::string text;
  for (const auto& parameter : graph.parameters())
    text += fmt::format("{} {}\n", parameter->name(), to_string(parameter->shape()));
  return sha256_of(text);
}

WeightMask::WeightMask(Shape of, std::span<const uint8_t> keep) : shape(std::move(of)), bits((keep.size() + 7) / 8, 0) {
  ESP_ASSERT(static_cast<int64_t>(keep.size()) == count());
  for (size_t i = 0; i < keep.size(); ++i)
    if (keep[i]) bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | 1u << (i % 8));
}

int64_t WeightMask::removed() const {
  int64_t kept = 0;
  for (uint8_t byte : bits) kept += std::popcount(byte);
  return count() - kept;
}

Mask Mask::for_model(const Graph& graph, HeadUnit unit) {
  Mask mask;
  mask.model = model_hash(graph);
  mask.head_unit = unit;
  return mask;
}

CouplingOptions Mask::coupling_options() const { return {.head_unit = head_unit, .group_conv = group_conv, .split = split}; }

void Mask::remove_units(const CouplingGroup& group, std::vector<uint8_t> keep) {
  ESP_ASSERT(static_cast<int64_t>(keep.size()) == group.set_count, "{} flags for {}", keep.size(), group.label);
  std::erase_if(units, [&](const UnitMask& unit) { return unit.label == group.label; });
  units.push_back({group.label, group.kind, group.block, std::move(keep)});
}

void check_fits(const Mask& mask, const Graph& graph, const std::string& where) {
  if (const std::string found = model_hash(graph); mask.model != found)
    throw UserError(where, "model", fmt::format("a mask of this model ({:.12}…)", found),
                    fmt::format("a mask of another one ({:.12}…)", mask.model));
  for (const auto& [name, weights] : mask.weights)
    if (!graph.has_parameter(name) || graph.parameter(name).shape() != weights.shape)
      throw UserError(where, fmt::format("weights of '{}'", printable(name)),
                      graph.has_parameter(name) ? to_string(graph.parameter(name).shape()) : "a parameter of the model",
                      to_string(weights.shape));
  const Coupling coupling = find_coupling(graph, mask.coupling_options());
  for (const auto& unit : mask.units) {
    const CouplingGroup* group = coupling.find(unit.label);
    if (!group) user_error("{}: the model has no group '{}'", where, printable(unit.label));
    if (group->set_count != static_cast<int64_t>(unit.keep.size()))
      throw UserError(where, fmt::format("sets of '{}'", unit.label), fmt::format("{}", group->set_count),
                      fmt::format("{}", unit.keep.size()));
    if (std::count(unit.keep.begin(), unit.keep.end(), 0) == group->set_count)
      user_error("{}: the group '{}' would be left with none of its {} sets", where, unit.label, group->set_count);
  }
  for (const Branch& branch : mask.branches)
    if (sublayers_of(graph, {branch}).empty())
      user_error("{}: block {} of the model has no {} branch", where, branch.block, name_of(branch.kind));
}

Graph apply_mask(const Graph& graph, const Mask& mask) {
  check_fits(mask, graph, "mask");
  Graph masked = graph.clone();
  ZeroedWeights zeroed(masked);
  apply_weight_masks(zeroed, mask);
  if (!mask.units.empty()) {
    const Coupling coupling = find_coupling(graph, mask.coupling_options());
    for (const auto& unit : mask.units)
      for (const auto& member : masked_group(coupling, unit).members)
        zero_slices(zeroed.of(member.param), member, unit.keep);
    mask_statistics(masked, coupling, flags_by_group(coupling, mask));
  }
  zeroed.assign();
  zero_sublayers(masked, sublayers_of(masked, mask.branches));
  infer_shapes(masked, input_shapes(masked));
  return masked;
}

void shrink(Graph& graph, const Mask& mask, const std::string& block_prefix) {
  check_fits(mask, graph, "mask");
  const Coupling coupling = find_coupling(graph, mask.coupling_options());
  ZeroedWeights zeroed(graph);
  apply_weight_masks(zeroed, mask);
  zeroed.assign();
  std::vector<GroupCut> cuts;
  for (const auto& unit : mask.units) {
    GroupCut group{masked_group(coupling, unit).id, {}};
    for (size_t set = 0; set < unit.keep.size(); ++set)
      if (unit.keep[set]) group.kept.push_back(static_cast<int64_t>(set));
    cuts.push_back(std::move(group));
  }
  cut(graph, coupling, cuts);
  if (!mask.branches.empty()) remove_sublayers(graph, sublayers_of(graph, mask.branches), block_prefix);
}

}  // namespace espalier
