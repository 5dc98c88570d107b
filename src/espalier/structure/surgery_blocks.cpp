// Sub-layers and blocks: nodes taken off the residual stream, and the renumbering of what remains.
#include <algorithm>
#include <map>
#include <unordered_set>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/structure/surgery.h"

namespace espalier {
namespace {

// Values that are to be read in place of others; chains are followed to their end.
class Rewiring {
 public:
  void replace(ValueId from, ValueId to) { to_[from] = to; }
  ValueId operator()(ValueId value) const {
    for (auto found = to_.find(value); found != to_.end(); found = to_.find(value)) value = found->second;
    return value;
  }
  void apply(Graph& graph) const {
    for (Node& node : graph.nodes)
      for (ValueId& input : node.inputs) input = (*this)(input);
    for (ValueId& output : graph.outputs) output = (*this)(output);
  }

 private:
  std::map<ValueId, ValueId> to_;
};

void erase_nodes(Graph& graph, const std::vector<uint8_t>& gone) {
  size_t index = 0;
  std::erase_if(graph.nodes, [&](const Node&) { return gone[index++] != 0; });
}

std::string renumbered_name(const std::string& name, const std::string& prefix, const BlockMap& map) {
  const size_t head = prefix.find("{}");
  if (head == std::string::npos) return name;
  const std::string tail = prefix.substr(head + 2);
  if (name.compare(0, head, prefix, 0, head) != 0) return name;
  const size_t end = name.find_first_not_of("0123456789", head);
  if (end == head || end == std::string::npos || end - head > 9 || name.compare(end, tail.size(), tail) != 0)
    return name;
  const size_t block = std::stoul(name.substr(head, end - head));
  if (block >= map.size() || map[block] < 0) return name;
  return name.substr(0, head) + std::to_string(map[block]) + name.substr(end);
}

// Blocks without nodes disappear; the others close up. New indices never exceed old ones, so renaming lower blocks
// first cannot meet a name that is still in use.
BlockMap close_up(Graph& graph, const std::string& prefix) {
  BlockMap map(static_cast<size_t>(graph.block_count), -1);
  for (const Node& node : graph.nodes)
    if (node.block >= 0 && node.block < graph.block_count) map[static_cast<size_t>(node.block)] = 0;
  int next = 0;
  for (int& index : map)
    if (index == 0) index = next++;
  for (Node& node : graph.nodes) {
    if (node.block >= 0) node.block = node.block < graph.block_count ? map[static_cast<size_t>(node.block)] : next;
    node.name = renumbered_name(node.name, prefix, map);
  }
  for (Value& value : graph.values) value.name = renumbered_name(value.name, prefix, map);
  std::vector<std::pair<std::string, std::string>> renames;
  for (const auto& parameter : graph.parameters())
    renames.emplace_back(parameter->name(), renumbered_name(parameter->name(), prefix, map));
  std::sort(renames.begin(), renames.end(), [](const auto& a, const auto& b) {  // block 9 before block 10
    return a.second.size() != b.second.size() ? a.second.size() < b.second.size() : a.second < b.second;
  });
  for (const auto& [from, to] : renames) graph.rename_parameter(from, to);
  graph.block_count = next;
  return map;
}

BlockMap finish(Graph& graph, const std::string& prefix) {
  graph.drop_unread_nodes();
  graph.drop_unused_parameters();
  BlockMap map = close_up(graph, prefix);
  graph.check();
  infer_shapes(graph, input_shapes(graph));
  return map;
}

// The one value that nodes of a block read from before it.
ValueId block_input(const Graph& graph, const std::vector<NodeId>& nodes) {
  std::unordered_set<ValueId> made, read;
  for (NodeId n : nodes) {
    const Node& node = graph.nodes[static_cast<size_t>(n)];
    made.insert(node.outputs.begin(), node.outputs.end());
    for (ValueId input : node.inputs)
      if (!made.count(input)) read.insert(input);
  }
  ESP_ASSERT(read.size() == 1, "a block reads {} values of earlier ones", read.size());
  return *read.begin();
}

void bypass_block(Graph& graph, int block, Rewiring& rewiring, std::vector<uint8_t>& gone) {
  const auto nodes = graph.nodes_of_block(block);
  if (nodes.empty()) return;
  const ValueId before = block_input(graph, nodes);
  for (NodeId n : nodes) {
    gone[static_cast<size_t>(n)] = 1;
    // All but the block's last value die with their readers, so it does no harm to redirect them too.
    for (ValueId output : graph.nodes[static_cast<size_t>(n)].outputs) rewiring.replace(output, before);
  }
}

void zero_parameter(Graph& graph, const Node& node, const std::string& role) {
  if (!node.has_param(role)) return;
  Parameter& parameter = graph.parameter_of(node, role);
  parameter.assign(Tensor(parameter.dtype(), parameter.shape()));
}

}  // namespace

BlockMap remove_sublayers(Graph& graph, const std::vector<SubLayer>& sublayers, const std::string& block_prefix) {
  Rewiring rewiring;
  std::vector<uint8_t> gone(graph.nodes.size(), 0);
  for (const SubLayer& sublayer : sublayers) {
    const Node& add = graph.nodes.at(static_cast<size_t>(sublayer.add));
    ESP_ASSERT(add.op == "Add" && add.block == sublayer.block, "a sub-layer of another graph");
    rewiring.replace(add.outputs[0], sublayer.residual);
    gone[static_cast<size_t>(sublayer.add)] = 1;
  }
  const auto left = std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    const auto index = static_cast<size_t>(&node - graph.nodes.data());
    return node.op == "Add" && node.block >= 0 && node.block < graph.block_count && !gone[index];
  });
  if (!left) user_error("removing {} sub-layers would leave no block", sublayers.size());
  rewiring.apply(graph);
  erase_nodes(graph, gone);
  return finish(graph, block_prefix);
}

BlockMap remove_blocks(Graph& graph, const std::vector<int>& blocks, const std::string& block_prefix) {
  const std::unordered_set<int> unique(blocks.begin(), blocks.end());
  for (int block : unique)
    if (block < 0 || block >= graph.block_count)
      throw UserError("blocks to remove", "block", fmt::format("0 to {}", graph.block_count - 1),
                      fmt::format("{}", block));
  if (static_cast<int>(unique.size()) >= graph.block_count)
    user_error("removing {} blocks would leave none", unique.size());
  Rewiring rewiring;
  std::vector<uint8_t> gone(graph.nodes.size(), 0);
  for (int block : unique) bypass_block(graph, block, rewiring, gone);
  rewiring.apply(graph);
  erase_nodes(graph, gone);
  return finish(graph, block_prefix);
}

void zero_sublayers(Graph& graph, const std::vector<SubLayer>& sublayers) {
  for (const SubLayer& sublayer : sublayers) {
    const Node projection = graph.nodes.at(static_cast<size_t>(sublayer.out_projection));
    zero_parameter(graph, projection, "weight");
    zero_parameter(graph, projection, "bias");
  }
}

}  // namespace espalier
