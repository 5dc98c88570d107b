// The reversible form of a removal: an explicit stored object, never inferred from w != 0. A masked model has the
// shapes of the dense one and computes what the cut one will: removed slices are zero, a removed branch adds zero, and
// norms whose statistics run over removed channels count the remaining ones only (their parameter `mask`).
//
// File: safetensors with
//   weights/<parameter>  U8 [ceil(n / 8)]: bit i of byte j (least significant first) keeps element 8 j + i
//   units/<group label>  U8 [ceil(sets / 8)]: the same for the sets of a coupling group
// and the metadata entry "espalier.mask": {"format": 1, "model": <sha256 of names and shapes>, "head_unit": "kv_group"
// | "query_head", "group_conv": "keep_groups" | "drop_groups", "split": "outer" | "inner", "weights": {name: shape}, "units": [{"label", "kind", "block", "sets"}], "branches": [{"block",
// "kind"}]}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "espalier/graph/graph.h"
#include "espalier/graph/sublayers.h"
#include "espalier/structure/coupling.h"

namespace espalier {

// SHA-256 over names and shapes of all parameters in declared order: what a mask fits.
std::string model_hash(const Graph& graph);

// One bit an element; 1: kept.
struct WeightMask {
  Shape shape;
  std::vector<uint8_t> bits;

  WeightMask() = default;
  WeightMask(Shape of, std::span<const uint8_t> keep);  // keep: one byte an element, 0: removed
  int64_t count() const { return element_count(shape); }
  bool keeps(int64_t element) const { return (bits[static_cast<size_t>(element / 8)] >> (element % 8)) & 1; }
  int64_t removed() const;
};

// Which sets of a coupling group stay.
struct UnitMask {
  std::string label;
  GroupKind kind = GroupKind::kOther;
  int block = -1;
  std::vector<uint8_t> keep;  // one a set
};

struct Branch {
  int block = 0;
  SubLayer::Kind kind = SubLayer::Kind::kAttention;
  bool operator==(const Branch&) const = default;
};

struct Mask {
  std::string model;  // model_hash of the dense model
  // How the groups of `units` were found.
  HeadUnit head_unit = HeadUnit::kKvGroup;
  GroupConvPolicy group_conv = GroupConvPolicy::kKeepGroups;
  SplitPolicy split = SplitPolicy::kOuter;
  std::map<std::string, WeightMask> weights;  // by parameter
  std::vector<UnitMask> units;                // a group at most once
  std::vector<Branch> branches;               // removed

  static Mask for_model(const Graph& graph, HeadUnit unit = HeadUnit::kKvGroup);  // removes nothing
  bool empty() const { return weights.empty() && units.empty() && branches.empty(); }
  CouplingOptions coupling_options() const;
  // keep: one flag a set of the group.
  void remove_units(const CouplingGroup& group, std::vector<uint8_t> keep);

  void save(const std::filesystem::path& path) const;
  static Mask load(const std::filesystem::path& path);  // UserError unless it is well-formed
};

// UserError unless the mask was made for this model and fits it; `where` names the mask.
void check_fits(const Mask& mask, const Graph& graph, const std::string& where);

// The masked model: same shapes, same parameters' names, weights that are removed replaced by zeros of their dtype.
Graph apply_mask(const Graph& graph, const Mask& mask);

// The cut model: removed weights become zeros, removed units and branches disappear (surgery.h).
void shrink(Graph& graph, const Mask& mask, const std::string& block_prefix);

}  // namespace espalier
