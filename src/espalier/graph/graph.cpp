#include "espalier/graph/graph.h"

#include <algorithm>
#include <unordered_set>

#include "espalier/core/error.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/graph/operator.h"

namespace espalier {

Parameter::Parameter(std::string name, Tensor source)
    : name_(std::move(name)), dtype_(source.dtype()), shape_(source.shape()), source_(std::move(source)) {}

Parameter::Parameter(std::string name, DType dtype, Shape shape, std::function<Tensor()> fetch)
    : name_(std::move(name)), dtype_(dtype), shape_(std::move(shape)), fetch_(std::move(fetch)) {}

Tensor Parameter::source() const { return fetch_ ? fetch_() : source_; }

Tensor Parameter::load() const {
  Tensor result = source();
  for (const auto& [axis, kept] : kept_) result = take(result, axis, *kept);
  return result;
}

void Parameter::assign(Tensor value) {
  source_ = std::move(value);
  fetch_ = nullptr;
  dtype_ = source_.dtype();
  shape_ = source_.shape();
  kept_.clear();
}

void Parameter::cut(size_t axis, const std::vector<int64_t>& kept) {
  std::vector<int64_t> in_source;
  in_source.reserve(kept.size());
  const auto found = kept_.find(axis);
  for (int64_t index : kept) {
    ESP_ASSERT(index >= 0 && index < shape_.at(axis), "cut of {} at {} of axis {}", name_, index, axis);
    in_source.push_back(found == kept_.end() ? index : found->second->at(static_cast<size_t>(index)));
  }
  shape_.at(axis) = static_cast<int64_t>(kept.size());
  kept_[axis] = std::make_shared<const std::vector<int64_t>>(std::move(in_source));
}

const std::vector<int64_t>* Parameter::kept(size_t axis) const {
  const auto found = kept_.find(axis);
  return found == kept_.end() ? nullptr : found->second.get();
}

namespace {
template <typename T>
const T& attribute(const Node& node, const std::string& key) {
  auto found = node.attributes.find(key);
  ESP_ASSERT(found != node.attributes.end(), "node {} lacks the attribute {}", node.name, key);
  const T* value = std::get_if<T>(&found->second);
  ESP_ASSERT(value, "attribute {} of node {} has another type", key, node.name);
  return *value;
}
}  // namespace

int64_t Node::integer(const std::string& key) const { return attribute<int64_t>(*this, key); }
int64_t Node::integer_or(const std::string& key, int64_t otherwise) const {
  return attributes.count(key) ? integer(key) : otherwise;
}
double Node::real(const std::string& key) const { return attribute<double>(*this, key); }
double Node::real_or(const std::string& key, double otherwise) const {
  return attributes.count(key) ? real(key) : otherwise;
}
bool Node::flag_or(const std::string& key, bool otherwise) const {
  return attributes.count(key) ? attribute<bool>(*this, key) : otherwise;
}
std::string Node::text(const std::string& key) const { return attribute<std::string>(*this, key); }
std::string Node::text_or(const std::string& key, const std::string& otherwise) const {
  return attributes.count(key) ? text(key) : otherwise;
}
const std::vector<int64_t>& Node::integers(const std::string& key) const {
  return attribute<std::vector<int64_t>>(*this, key);
}

std::vector<int64_t> Node::integers_or(const std::string& key, std::vector<int64_t> otherwise) const {
  return attributes.count(key) ? integers(key) : std::move(otherwise);
}

ValueId Graph::add_value(std::string name) {
  values.push_back({std::move(name), {}});
  return static_cast<ValueId>(values.size() - 1);
}

NodeId Graph::add_node(Node node) {
  nodes.push_back(std::move(node));
  return static_cast<NodeId>(nodes.size() - 1);
}

void Graph::add_parameter(std::string name, Tensor source) {
  add_parameter(Parameter(std::move(name), std::move(source)));
}

void Graph::add_parameter(Parameter parameter) {
  ESP_ASSERT(!has_parameter(parameter.name()), "parameter {} declared twice", parameter.name());
  parameters_.push_back(std::make_unique<Parameter>(std::move(parameter)));
  by_name_[parameters_.back()->name()] = parameters_.back().get();
}

Parameter& Graph::parameter(const std::string& name) {
  auto found = by_name_.find(name);
  ESP_ASSERT(found != by_name_.end(), "no parameter {}", name);
  return *found->second;
}

const Parameter& Graph::parameter(const std::string& name) const { return const_cast<Graph*>(this)->parameter(name); }

void Graph::rename_parameter(const std::string& from, const std::string& to) {
  if (from == to) return;
  ESP_ASSERT(!has_parameter(to), "parameter {} exists already", to);
  auto entry = by_name_.extract(from);
  entry.key() = to;
  entry.mapped()->rename(to);
  by_name_.insert(std::move(entry));
  for (auto& node : nodes)
    for (auto& [role, name] : node.params)
      if (name == from) name = to;
}

void Graph::drop_unused_parameters() {
  std::unordered_set<std::string> used;
  for (const auto& node : nodes)
    for (const auto& [role, name] : node.params) used.insert(name);
  std::erase_if(parameters_, [&](const auto& parameter) {
    if (used.count(parameter->name())) return false;
    by_name_.erase(parameter->name());
    return true;
  });
}

// From the last to the first, so that chains go in one pass.
void Graph::drop_unread_nodes() {
  std::unordered_set<ValueId> read(outputs.begin(), outputs.end());
  std::vector<Node> kept;
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    const bool alive = std::any_of(node->outputs.begin(), node->outputs.end(),
                                   [&](ValueId value) { return read.count(value) != 0; });
    if (!alive) continue;
    read.insert(node->inputs.begin(), node->inputs.end());
    kept.push_back(std::move(*node));
  }
  nodes.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
}

const Node& Graph::node(const std::string& name) const {
  auto found = std::find_if(nodes.begin(), nodes.end(), [&](const Node& node) { return node.name == name; });
  ESP_ASSERT(found != nodes.end(), "no node {}", name);
  return *found;
}

std::vector<NodeId> Graph::nodes_of_block(int block) const {
  std::vector<NodeId> found;
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i].block == block) found.push_back(static_cast<NodeId>(i));
  return found;
}

std::optional<NodeId> Graph::producer(ValueId value) const {
  for (size_t i = 0; i < nodes.size(); ++i)
    if (std::count(nodes[i].outputs.begin(), nodes[i].outputs.end(), value)) return static_cast<NodeId>(i);
  return std::nullopt;
}

std::vector<NodeId> Graph::consumers(ValueId value) const {
  std::vector<NodeId> found;
  for (size_t i = 0; i < nodes.size(); ++i)
    if (std::count(nodes[i].inputs.begin(), nodes[i].inputs.end(), value)) found.push_back(static_cast<NodeId>(i));
  return found;
}

int64_t Graph::parameter_count() const {
  const auto statistics = statistics_of(*this);
  int64_t count = 0;
  for (const auto& parameter : parameters_)
    if (!statistics.count(parameter->name())) count += parameter->count();
  return count;
}

uint64_t Graph::parameter_bytes() const {
  uint64_t bytes = 0;
  for (const auto& parameter : parameters_) bytes += parameter->byte_size();
  return bytes;
}

Graph Graph::clone() const {
  Graph copy;
  copy.nodes = nodes;
  copy.values = values;
  copy.inputs = inputs;
  copy.outputs = outputs;
  copy.block_count = block_count;
  for (const auto& parameter : parameters_) {
    copy.parameters_.push_back(std::make_unique<Parameter>(*parameter));
    copy.by_name_[parameter->name()] = copy.parameters_.back().get();
  }
  return copy;
}

void Graph::check() const {
  std::vector<bool> ready(values.size(), false);
  for (ValueId input : inputs) ready.at(static_cast<size_t>(input)) = true;
  for (const auto& node : nodes) {
    find_operator(node.op);
    for (ValueId input : node.inputs) ESP_ASSERT(ready.at(static_cast<size_t>(input)), "{} reads a value too early", node.name);
    for (ValueId output : node.outputs) {
      ESP_ASSERT(!ready.at(static_cast<size_t>(output)), "{} writes a value a second time", node.name);
      ready[static_cast<size_t>(output)] = true;
    }
    for (const auto& [role, name] : node.params) ESP_ASSERT(has_parameter(name), "{} needs {}", node.name, name);
  }
  for (ValueId output : outputs) ESP_ASSERT(ready.at(static_cast<size_t>(output)), "an output is never produced");
}

}  // namespace espalier
