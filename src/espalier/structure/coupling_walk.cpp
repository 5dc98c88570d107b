#include "espalier/structure/coupling_walk.h"

#include <algorithm>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

size_t from_end(int axis, size_t rank) {
  const int64_t at = axis < 0 ? axis + static_cast<int64_t>(rank) : axis;
  ESP_ASSERT(at >= 0 && at < static_cast<int64_t>(rank), "axis {} of rank {}", axis, rank);
  return static_cast<size_t>(at);
}

}  // namespace

int32_t AtomClasses::add(size_t count) {
  const size_t first = parent_.size();
  ESP_ASSERT(first + count < INT32_MAX, "too many atoms");
  parent_.resize(first + count);
  std::iota(parent_.begin() + static_cast<int64_t>(first), parent_.end(), static_cast<int32_t>(first));
  frozen_.resize(first + count, 0);
  return static_cast<int32_t>(first);
}

int32_t AtomClasses::find(int32_t atom) {
  auto at = static_cast<size_t>(atom);
  while (parent_[at] != static_cast<int32_t>(at)) {
    parent_[at] = parent_[static_cast<size_t>(parent_[at])];  // halves the path
    at = static_cast<size_t>(parent_[at]);
  }
  return static_cast<int32_t>(at);
}

// The lower atom leads: streams lead their many followers, which keeps paths short without ranks.
void AtomClasses::unite(int32_t a, int32_t b) {
  int32_t low = find(a), high = find(b);
  if (low == high) return;
  if (low > high) std::swap(low, high);
  parent_[static_cast<size_t>(high)] = low;
  frozen_[static_cast<size_t>(low)] |= frozen_[static_cast<size_t>(high)];
}

CouplingWalk::CouplingWalk(const Graph& graph, HeadUnit unit)
    : graph_(graph), unit_(unit), values_(graph.values.size()) {
  for (const auto& parameter : graph.parameters()) {
    first_dim_[parameter->name()] = dims_.size();
    for (size_t axis = 0; axis < parameter->shape().size(); ++axis) {
      Atoms atoms(static_cast<size_t>(parameter->shape()[axis]));
      std::iota(atoms.begin(), atoms.end(), classes_.add(atoms.size()));
      dim_of_atom_.resize(classes_.size(), static_cast<int32_t>(dims_.size()));
      dims_.push_back({parameter.get(), axis, std::move(atoms), -1, -1});
    }
  }
  for (size_t i = 0; i < values_.size(); ++i) values_[i].resize(graph.values[i].shape.size());
}

void CouplingWalk::run() {
  for (node_ = 0; node_ < static_cast<NodeId>(graph_.nodes.size()); ++node_) {
    const Node& node = graph_.nodes[static_cast<size_t>(node_)];
    const Operator& op = find_operator(node.op);
    if (op.couple) {
      op.couple(*this, NodeView(graph_, node));
    } else {
      freeze_everything(node);
    }
  }
  for (ValueId output : graph_.outputs)
    for (const Atoms& atoms : values_[static_cast<size_t>(output)]) freeze(atoms);
}

void CouplingWalk::freeze_everything(const Node& node) {
  for (ValueId input : node.inputs)
    for (const Atoms& atoms : values_[static_cast<size_t>(input)]) freeze(atoms);
  for (const auto& [role, name] : node.params)
    for (size_t axis = 0; axis < graph_.parameter(name).shape().size(); ++axis) freeze_dim(name, axis);
  unknown_.push_back(fmt::format("{} {}", node.op, node.name));
}

const Atoms& CouplingWalk::param(const std::string& role, int axis) {
  const std::string& name = graph_.nodes[static_cast<size_t>(node_)].params.at(role);
  const size_t rank = graph_.parameter(name).shape().size();
  return dims_[dim_index(name, from_end(axis, rank))].atoms;
}

const Atoms& CouplingWalk::value(ValueId value, int axis) const {
  const auto& dims = values_[static_cast<size_t>(value)];
  return dims[from_end(axis, dims.size())];
}

const Atoms& CouplingWalk::input(size_t i, int axis) {
  return value(graph_.nodes[static_cast<size_t>(node_)].inputs.at(i), axis);
}

void CouplingWalk::set_output(size_t i, int axis, Atoms atoms) {
  const auto output = static_cast<size_t>(graph_.nodes[static_cast<size_t>(node_)].outputs.at(i));
  auto& dims = values_[output];
  const size_t at = from_end(axis, dims.size());
  ESP_ASSERT(atoms.empty() || static_cast<int64_t>(atoms.size()) == graph_.values[output].shape[at], "{}",
             graph_.nodes[static_cast<size_t>(node_)].name);
  dims[at] = std::move(atoms);
}

void CouplingWalk::pass_through() {
  const Node& node = graph_.nodes[static_cast<size_t>(node_)];
  values_[static_cast<size_t>(node.outputs.at(0))] = values_[static_cast<size_t>(node.inputs.at(0))];
}

void CouplingWalk::tie(int32_t a, int32_t b) {
  if (a == b) return;
  const int32_t dim_a = dim_of_atom_[static_cast<size_t>(a)], dim_b = dim_of_atom_[static_cast<size_t>(b)];
  if (dim_a != dim_b) {
    auto note = [&](int32_t dim, int32_t other) {
      Dim& entry = dims_[static_cast<size_t>(dim)];
      if (entry.edge_node >= 0) return;
      entry.edge_node = node_;
      entry.edge_dim = other;
    };
    note(dim_a, dim_b);
    note(dim_b, dim_a);
  }
  classes_.unite(a, b);
}

void CouplingWalk::freeze(const Atoms& atoms) {
  for (int32_t atom : atoms) classes_.freeze(atom);
}

void CouplingWalk::counts(const std::string& attribute, size_t entry, const Atoms& atoms) {
  counted_.push_back({node_, attribute, entry, atoms});
}

void CouplingWalk::statistics_over(const Atoms& atoms) { statistics_.push_back({node_, atoms}); }

}  // namespace espalier
