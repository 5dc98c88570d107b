// What a cut changes besides parameters: counts, shapes and indices in attributes, and layout chains that can no longer
// be written as Reshape, Transpose, Reshape. A part of surgery.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "espalier/graph/graph.h"
#include "espalier/structure/coupling.h"

namespace espalier {

class LayoutSurgery {
 public:
  using Removed = std::function<bool(const SetRef&)>;

  // Finds out what is to be changed and changes nothing. UserError: what would remain cannot be expressed.
  LayoutSurgery(Graph& graph, const Coupling& coupling, Removed removed);
  void apply();

 private:
  struct KeptFactors {                       // of a split that loses something
    std::vector<std::vector<uint8_t>> kept;  // [factor][coordinate]
    bool product = true;
  };
  Node& node(const std::string& name) { return graph_.nodes[static_cast<size_t>(index_of_.at(name))]; }
  bool loses(const std::vector<SetRef>& positions) const;
  std::vector<uint8_t> kept_positions(const DimPositions& dim) const;
  void survey_splits();
  void plan_chains();
  void check_chain(const LayoutChain& chain);
  void check_leftovers();
  void plan_indices();
  void set_indices(const AddressedDim& site, const std::vector<int64_t>& indices);
  void set_slice(Node& node, size_t axis, const std::vector<int64_t>& indices);
  void rewrite_counts();

  Graph& graph_;
  const Coupling& coupling_;
  Removed removed_;
  std::map<std::string, NodeId> index_of_;
  std::map<int, KeptFactors> splits_;
  std::map<const LayoutChain*, std::vector<int64_t>> chains_;    // new picks
  std::map<const AddressedDim*, std::vector<int64_t>> indices_;  // new ones
  std::unordered_set<std::string> replaced_;
};

}  // namespace espalier
