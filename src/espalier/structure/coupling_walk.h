// The walk behind find_coupling: applies the operators' rules and keeps the atoms of every dim of every value.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "espalier/graph/couple.h"
#include "espalier/graph/graph.h"

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
    Atoms atoms;
  };
  struct Statistics {
    NodeId node;
    Atoms atoms;
  };

  // `graph` has inferred shapes and outlives the walk.
  CouplingWalk(const Graph& graph, HeadUnit unit);
  void run();

  const Atoms& param(const std::string& role, int axis) override;
  const Atoms& input(size_t i, int axis) override;
  void set_output(size_t i, int axis, Atoms atoms) override;
  void pass_through() override;
  void tie(int32_t a, int32_t b) override;
  void freeze(const Atoms& atoms) override;
  void counts(const std::string& attribute, size_t entry, const Atoms& atoms) override;
  void statistics_over(const Atoms& atoms) override;
  HeadUnit head_unit() const override { return unit_; }

  void freeze_dim(const std::string& param, size_t axis) { freeze(dims_[dim_index(param, axis)].atoms); }

  const std::vector<Dim>& dims() const { return dims_; }  // declared order, axes ascending
  const Atoms& value(ValueId value, int axis) const;
  const std::vector<Counted>& counted() const { return counted_; }
  const std::vector<Statistics>& statistics() const { return statistics_; }
  const std::vector<std::string>& unknown_operators() const { return unknown_; }
  AtomClasses& classes() { return classes_; }

 private:
  size_t dim_index(const std::string& param, size_t axis) const { return first_dim_.at(param) + axis; }
  void freeze_everything(const Node& node);

  const Graph& graph_;
  HeadUnit unit_;
  AtomClasses classes_;
  std::vector<Dim> dims_;
  std::vector<int32_t> dim_of_atom_;
  std::unordered_map<std::string, size_t> first_dim_;  // of each parameter, in dims_
  std::vector<std::vector<Atoms>> values_;             // of each value, a list a dim
  std::vector<Counted> counted_;
  std::vector<Statistics> statistics_;
  std::vector<std::string> unknown_;
  NodeId node_ = -1;
};

}  // namespace espalier
