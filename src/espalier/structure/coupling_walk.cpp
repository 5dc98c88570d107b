#include "espalier/structure/coupling_walk.h"

#include <algorithm>
#include <numeric>
#include <set>

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
  if (count >= INT32_MAX - first) user_error("the model has more than 2^31 channel positions");
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

CouplingWalk::CouplingWalk(const Graph& graph, const CouplingOptions& options)
    : graph_(graph), options_(options), values_(graph.values.size()) {
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
    const Operator& op = find_operator(node().op);
    if (op.couple) {
      op.couple(*this, NodeView(graph_, node()));
    } else {
      freeze_everything();
    }
  }
  for (ValueId output : graph_.outputs)
    for (const ValueDim& dim : values_[static_cast<size_t>(output)]) freeze_value_dim(dim);
  for (auto& dims : values_)
    for (ValueDim& dim : dims) settle(dim);
}

void CouplingWalk::freeze_everything() {
  std::set<int32_t> touched;
  for (ValueId input : node().inputs)
    for (const ValueDim& dim : values_[static_cast<size_t>(input)]) {
      freeze_value_dim(dim);
      for (int32_t atom : dim.split ? dim.split->atoms : dim.atoms)
        touched.insert(dim_of_atom_[static_cast<size_t>(atom)]);
    }
  for (const auto& [role, name] : node().params)
    for (size_t axis = 0; axis < graph_.parameter(name).shape().size(); ++axis) freeze_dim(name, axis);
  std::vector<std::string> names;
  for (int32_t dim : touched)
    if (dim >= 0)
      names.push_back(fmt::format("{} axis {}", dims_[static_cast<size_t>(dim)].param->name(),
                                  dims_[static_cast<size_t>(dim)].axis));
  unknown_.push_back(fmt::format("{} {}{}{}", node().text_or("op_type", node().op), node().name,
                                 names.empty() ? "" : ", with ", fmt::join(names, ", ")));
}

const Atoms& CouplingWalk::param(const std::string& role, int axis) {
  const std::string& name = node().params.at(role);
  const size_t rank = graph_.parameter(name).shape().size();
  return dims_[dim_index(name, from_end(axis, rank))].atoms;
}

const Atoms& CouplingWalk::value(ValueId value, int axis) const {
  const auto& dims = values_[static_cast<size_t>(value)];
  return dims[from_end(axis, dims.size())].atoms;
}

const Atoms& CouplingWalk::input(size_t i, int axis) {
  auto& dims = input_dims(i);
  return look(dims[from_end(axis, dims.size())]);
}

void CouplingWalk::set_output(size_t i, int axis, Atoms atoms) {
  auto& dims = output_dims(i);
  const size_t at = from_end(axis, dims.size());
  ESP_ASSERT(atoms.empty() || static_cast<int64_t>(atoms.size()) == shape_of(node().outputs[i])[at], "{}", node().name);
  dims[at] = {std::move(atoms), nullptr, 0};
}

void CouplingWalk::pass_through() {
  for (ValueDim& dim : input_dims(0)) look(dim);
  output_dims(0) = input_dims(0);
}

void CouplingWalk::tie(int32_t a, int32_t b) {
  if (a == b) return;
  const int32_t dim_a = dim_of_atom_[static_cast<size_t>(a)], dim_b = dim_of_atom_[static_cast<size_t>(b)];
  if (dim_a != dim_b && dim_a >= 0 && dim_b >= 0) {
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

void CouplingWalk::freeze_value_dim(const ValueDim& dim) { freeze(dim.split ? dim.split->atoms : dim.atoms); }

Atoms CouplingWalk::fresh_frozen(size_t count) {
  Atoms atoms(count);
  std::iota(atoms.begin(), atoms.end(), classes_.add(count));
  dim_of_atom_.resize(classes_.size(), -1);
  freeze(atoms);
  return atoms;
}

void CouplingWalk::counts(const std::string& attribute, size_t entry, const Atoms& atoms) {
  counted_.push_back({node_, attribute, entry, {atoms, nullptr, 0}});
}

void CouplingWalk::count_output(size_t i, int axis, const std::string& attribute, size_t entry) {
  const auto& dims = output_dims(i);
  const ValueDim& dim = dims[from_end(axis, dims.size())];
  if (dim.live()) counted_.push_back({node_, attribute, entry, dim});
}

void CouplingWalk::addresses(int axis, const std::vector<int64_t>& indices) {
  auto& dims = input_dims(0);
  const size_t at = from_end(axis, dims.size());
  settle(dims[at]);
  if (dims[at].live()) addressed_.push_back({node_, at, indices, dims[at]});
}

void CouplingWalk::statistics_over(const Atoms& atoms) { statistics_.push_back({node_, atoms}); }

}  // namespace espalier
