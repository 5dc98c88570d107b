// The walk behind find_coupling: applies the operators' rules and keeps the atoms of every dim of every value.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "espalier/graph/couple.h"
#include "espalier/graph/graph.h"
#include "espalier/structure/coupling.h"

namespace espalier {

// Classes of atoms; a class is frozen as soon as one of its atoms is.
class AtomClasses {
 public:
  int32_t add(size_t count);  // fresh atoms; returns the first
  int32_t find(int32_t atom);
  void unite(int32_t a, int32_t b);
  void freeze(int32_t atom) { frozen_[static_cast<size_t>(find(atom))] = 1; }
  bool is_frozen(int32_t atom) { return frozen_[static_cast<size_t>(find(atom))] != 0; }
  size_t size() const { return parent_.size(); }

 private:
  std::vector<int32_t> parent_;
  std::vector<uint8_t> frozen_;
};

// A live dim that a Reshape took apart, as long as only layout operators have seen the parts (graph/couple.h).
struct AxisSplit {
  int family = 0;  // one a Reshape'd dim; finer splits and parts of it keep the number
  ValueId root = -1;
  size_t root_axis = 0;
  Atoms atoms;                  // row-major over the factors
  std::vector<int64_t> source;  // of each atom its index on the root's axis
  Shape factors;
  int index = 0;  // among the walk's splits
  bool decided = false;
  size_t live_factor = 0;
  Atoms live;  // once decided: the atoms of the live factor
};

// One dim of a value: dead, live, or one factor of a split.
struct ValueDim {
  Atoms atoms;
  AxisSplit* split = nullptr;
  size_t factor = 0;
  bool live() const { return split || !atoms.empty(); }
};

class CouplingWalk : public Coupler {
 public:
  struct Dim {
    const Parameter* param;
    size_t axis;
    Atoms atoms;
    NodeId edge_node = -1;  // whose rule first tied an index of this dim to another dim; −1: none did
    int32_t edge_dim = -1;
  };
  struct Counted {
    NodeId node;
    std::string attribute;
    size_t entry;
    ValueDim dim;
  };
  struct Addressed {
    NodeId node;
    size_t axis;
    std::vector<int64_t> indices;
    ValueDim dim;
  };
  struct Merge {  // a Reshape that put all factors of a split together again
    NodeId node;
    size_t axis;
    const AxisSplit* split;
    std::vector<int64_t> picks;  // of each index its index on the root's axis
  };
  struct Statistics {
    NodeId node;
    Atoms atoms;
  };

  // `graph` has inferred shapes and outlives the walk.
  CouplingWalk(const Graph& graph, const CouplingOptions& options);
  void run();

  const Atoms& param(const std::string& role, int axis) override;
  const Atoms& input(size_t i, int axis) override;
  size_t input_rank(size_t i) override { return input_dims(i).size(); }
  void set_output(size_t i, int axis, Atoms atoms) override;
  void pass_through() override;
  void tie(int32_t a, int32_t b) override;
  void freeze(const Atoms& atoms) override;
  Atoms fresh_frozen(size_t count) override;
  void freeze_everything() override;
  void reshape(const std::string& counted) override;
  void map_dims(const std::vector<int>& source) override;
  void pick(size_t output, int axis, const std::vector<int64_t>& indices) override;
  void addresses(int axis, const std::vector<int64_t>& indices) override;
  void counts(const std::string& attribute, size_t entry, const Atoms& atoms) override;
  void count_output(size_t i, int axis, const std::string& attribute, size_t entry) override;
  void statistics_over(const Atoms& atoms) override;
  HeadUnit head_unit() const override { return options_.head_unit; }
  GroupConvPolicy group_conv() const override { return options_.group_conv; }

  void freeze_dim(const std::string& param, size_t axis) { freeze(dims_[dim_index(param, axis)].atoms); }

  const std::vector<Dim>& dims() const { return dims_; }  // declared order, axes ascending
  const Atoms& value(ValueId value, int axis) const;      // no atoms for a split that was never decided
  const std::vector<std::unique_ptr<AxisSplit>>& splits() const { return splits_; }
  const std::vector<Counted>& counted() const { return counted_; }
  const std::vector<Addressed>& addressed() const { return addressed_; }
  const std::vector<Merge>& merges() const { return merges_; }
  const std::vector<Statistics>& statistics() const { return statistics_; }
  const std::vector<std::string>& unknown_operators() const { return unknown_; }
  AtomClasses& classes() { return classes_; }

 private:
  struct Strand;
  using Strands = std::vector<Strand>;
  struct FinerSplit {
    AxisSplit* split = nullptr;
    std::vector<size_t> offset;  // of each old factor its first new one
  };

  const Node& node() const { return graph_.nodes[static_cast<size_t>(node_)]; }
  size_t dim_index(const std::string& param, size_t axis) const { return first_dim_.at(param) + axis; }
  std::vector<ValueDim>& input_dims(size_t i) { return values_[static_cast<size_t>(node().inputs.at(i))]; }
  std::vector<ValueDim>& output_dims(size_t i) { return values_[static_cast<size_t>(node().outputs.at(i))]; }
  const Shape& shape_of(ValueId value) const { return graph_.values[static_cast<size_t>(value)].shape; }
  void freeze_value_dim(const ValueDim& dim);

  void settle(ValueDim& dim);
  const Atoms& look(ValueDim& dim);  // decides a split
  void decide(AxisSplit& split);
  AxisSplit* add_split(AxisSplit split);
  AxisSplit* take_apart(size_t axis, const Atoms& atoms, const Shape& factors);
  FinerSplit refine(AxisSplit& split, const std::map<size_t, Shape>& parts);
  AxisSplit* part_of(const AxisSplit& split, size_t factor, const std::vector<int64_t>& indices);
  Strands strands_of(std::vector<ValueDim>& dims, const Shape& in, const Shape& out);
  ValueDim assemble(Strands strands, size_t axis);
  ValueDim merge(const Strands& strands, const AxisSplit& split, size_t axis);

  const Graph& graph_;
  CouplingOptions options_;
  AtomClasses classes_;
  std::vector<Dim> dims_;
  std::vector<int32_t> dim_of_atom_;                   // −1: of no parameter
  std::unordered_map<std::string, size_t> first_dim_;  // of each parameter, in dims_
  std::vector<std::vector<ValueDim>> values_;          // of each value, its dims
  std::vector<std::unique_ptr<AxisSplit>> splits_;
  std::vector<Counted> counted_;
  std::vector<Addressed> addressed_;
  std::vector<Merge> merges_;
  std::vector<Statistics> statistics_;
  std::vector<std::string> unknown_;
  NodeId node_ = -1;
};

}  // namespace espalier
