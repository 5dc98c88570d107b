#include <algorithm>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "espalier/families/onnx/patterns.h"
#include "espalier/graph/node_kinds.h"

namespace espalier {
namespace {

// A branch that an Add brings onto the stream.
struct Branch {
  NodeId add = -1;
  ValueId residual = -1;
  bool attends = false;
};

constexpr size_t kLargestBlock = 2000;  // nodes
constexpr int kDeepestTable = 100;      // nodes in a row

struct Block {
  ValueId start = -1, end = -1;  // of the stream
};

class BlockFinder {
 public:
  explicit BlockFinder(GraphGrowth& growth) : growth_(growth), graph_(growth.graph) { look(); }

  void run() {
    const std::vector<Block> blocks = blocks_of(longest_chain());
    if (blocks.empty() || !zone(blocks) || !put_in_order(static_cast<int>(blocks.size()))) return;
    graph_.nodes = std::move(ordered_);
    graph_.block_count = static_cast<int>(blocks.size());
  }

 private:
  void look() {
    makers_.assign(graph_.values.size(), -1);
    readers_.assign(graph_.values.size(), {});
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      for (ValueId input : graph_.nodes[n].inputs) readers_[static_cast<size_t>(input)].insert(static_cast<NodeId>(n));
      for (ValueId output : graph_.nodes[n].outputs) makers_[static_cast<size_t>(output)] = static_cast<NodeId>(n);
    }
    for (ValueId output : graph_.outputs) readers_[static_cast<size_t>(output)].insert(-1);
    find_fixed();
  }

  void find_fixed() {
    fixed_.assign(graph_.nodes.size(), false);
    std::vector<int> depth(graph_.nodes.size(), 0);
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      fixed_[n] = node.op == "Constant" || (!node.inputs.empty() && node.params.empty());
      for (ValueId input : node.inputs) {
        fixed_[n] = fixed_[n] && is_fixed(input);
        if (fixed_[n]) depth[n] = std::max(depth[n], depth[static_cast<size_t>(maker(input))] + 1);
      }
      // A node that is kept as it is reads values under names that must stay, so there can be no copies of them.
      fixed_[n] = fixed_[n] && depth[n] < kDeepestTable && node.op != "Opaque" && !is_read_by_name(node);
    }
  }
  bool is_read_by_name(const Node& node) const {
    return std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId output) {
      const auto& all = readers(output);
      return std::any_of(all.begin(), all.end(), [&](NodeId n) { return n >= 0 && graph_.nodes[static_cast<size_t>(n)].op == "Opaque"; });
    });
  }
  // The same for every input: Constants and what is computed from nothing else (tables of angles).
  bool is_fixed(ValueId value) const { return maker(value) >= 0 && fixed_[static_cast<size_t>(maker(value))]; }
  const Node& node(NodeId n) const { return graph_.nodes[static_cast<size_t>(n)]; }
  NodeId maker(ValueId value) const { return makers_[static_cast<size_t>(value)]; }
  const std::set<NodeId>& readers(ValueId value) const { return readers_[static_cast<size_t>(value)]; }

  bool is_branch(ValueId value) const {
    return maker(value) >= 0 && node(maker(value)).op == "Linear" && readers(value).size() == 1;
  }

  // Nodes that the value needs, but for those that `start` needs; nothing where it does not need `start`, or where there
  // are too many for a block.
  std::optional<std::unordered_set<NodeId>> between(ValueId start, ValueId end) const {
    std::unordered_set<NodeId> found;
    std::vector<ValueId> open{end};
    bool reached = false;
    while (!open.empty()) {
      const ValueId value = open.back();
      open.pop_back();
      reached = reached || value == start;
      if (value == start || maker(value) < 0 || !found.insert(maker(value)).second) continue;
      if (found.size() > kLargestBlock) return std::nullopt;
      for (ValueId input : node(maker(value)).inputs) open.push_back(input);
    }
    return reached ? std::optional(std::move(found)) : std::nullopt;
  }

  // The stream that a branch starts from, when an Add's sum is followed by the norm of a post-norm model.
  std::optional<Branch> branch_of(NodeId n) const {
    const Node& add = node(n);
    if (add.op != "Add" || add.inputs.size() != 2) return std::nullopt;
    const bool first = is_branch(add.inputs[0]), second = is_branch(add.inputs[1]);
    if (first == second) return std::nullopt;
    Branch branch{n, add.inputs[first ? 1 : 0], false};
    const auto inner = between(branch.residual, add.inputs[first ? 0 : 1]);
    if (!inner || growth_.shape(branch.residual, false) != growth_.shape(add.outputs[0], false)) return std::nullopt;
    branch.attends = std::any_of(inner->begin(), inner->end(), [&](NodeId i) { return node(i).op == "Attention"; });
    return branch;
  }

  // What the value becomes before the next branch: the norm of it, where nothing else reads it.
  ValueId after_norm(ValueId value) const {
    if (readers(value).size() != 1 || *readers(value).begin() < 0) return value;
    const Node& reader = node(*readers(value).begin());
    return is_norm(reader) && reader.inputs[0] == value ? reader.outputs[0] : value;
  }

  // Branches one after the other on one stream, as many as there are.
  std::vector<Branch> longest_chain() const {
    std::vector<std::vector<Branch>> chains;
    std::unordered_map<ValueId, size_t> chain_of;  // by what the next branch starts from
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const auto branch = branch_of(static_cast<NodeId>(n));
      if (!branch) continue;
      const auto known = chain_of.find(branch->residual);
      const size_t chain = known == chain_of.end() ? chains.size() : known->second;
      if (chain == chains.size()) chains.emplace_back();
      chains[chain].push_back(*branch);
      const ValueId sum = graph_.nodes[n].outputs[0];
      chain_of[sum] = chain_of[after_norm(sum)] = chain;
    }
    const auto longest = std::max_element(chains.begin(), chains.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
    return longest == chains.end() ? std::vector<Branch>{} : *longest;
  }

  std::vector<Block> blocks_of(const std::vector<Branch>& chain) const {
    std::vector<Block> blocks;
    const auto attentions = std::count_if(graph_.nodes.begin(), graph_.nodes.end(), [](const Node& n) { return n.op == "Attention"; });
    const auto attending = std::count_if(chain.begin(), chain.end(), [](const Branch& branch) { return branch.attends; });
    if (attending == 0 || attending < attentions) return {};  // a part of the model alone would look like the whole
    const bool norm_last = chain.size() > 1 && chain[1].residual != node(chain[0].add).outputs[0];
    bool attends = true, mixes = true;  // the block at hand has one already
    for (const Branch& branch : chain) {
      bool& taken = branch.attends ? attends : mixes;
      if (taken) {
        blocks.push_back({branch.residual, -1});
        attends = mixes = false;
      }
      taken = true;
      const ValueId sum = node(branch.add).outputs[0];
      blocks.back().end = norm_last ? after_norm(sum) : sum;
    }
    return blocks;
  }

  // Each node's zone: −1 before the blocks, then the blocks, then what comes after them. False where a block has more
  // than its stream to do with the rest.
  bool zone(const std::vector<Block>& blocks) {
    zones_.assign(graph_.nodes.size(), -1);
    const int after = static_cast<int>(blocks.size());
    for (int b = 0; b < after; ++b) {
      const Block& block = blocks[static_cast<size_t>(b)];
      const auto inner = between(block.start, block.end);
      if (!inner || (b > 0 && block.start != blocks[static_cast<size_t>(b) - 1].end)) return false;
      for (NodeId n : *inner) {
        if (fixed_[static_cast<size_t>(n)]) continue;
        if (std::exchange(zones_[static_cast<size_t>(n)], b) != -1) return false;
      }
    }
    bool anything_after = false;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (zones_[n] >= 0 || fixed_[n]) continue;
      const auto& inputs = graph_.nodes[n].inputs;
      if (std::any_of(inputs.begin(), inputs.end(), [&](ValueId v) { return maker(v) >= 0 && zones_[static_cast<size_t>(maker(v))] >= 0; })) {
        zones_[n] = after;
        anything_after = true;
      }
    }
    for (size_t n = 0; n < graph_.nodes.size(); ++n)
      if (zones_[n] >= 0 && !reads_only_its_own(graph_.nodes[n], zones_[n], blocks)) return false;
    return anything_after && std::all_of(graph_.outputs.begin(), graph_.outputs.end(), [&](ValueId v) {
      return maker(v) < 0 || zones_[static_cast<size_t>(maker(v))] == after || zones_[static_cast<size_t>(maker(v))] == -1;
    });
  }

  bool reads_only_its_own(const Node& reader, int zone, const std::vector<Block>& blocks) const {
    const auto count = static_cast<int>(blocks.size());
    const ValueId stream = zone == count ? blocks.back().end : blocks[static_cast<size_t>(zone)].start;
    return std::all_of(reader.inputs.begin(), reader.inputs.end(), [&](ValueId v) {
      if (v == stream) return true;
      if (maker(v) < 0) return zone == count;  // an input of the graph
      return is_fixed(v) || zones_[static_cast<size_t>(maker(v))] == zone;
    });
  }

  // The nodes zone by zone. What is fixed and read by several zones is made in each.
  // False where that would make the graph many times as large.
  bool put_in_order(int blocks) {
    const size_t most = 4 * graph_.nodes.size() + 100;
    for (int zone = -1; zone <= blocks; ++zone)
      for (size_t n = 0; n < zones_.size(); ++n) {
        if (zones_[n] != zone || fixed_[n]) continue;
        Node moved = graph_.nodes[n];
        for (ValueId& input : moved.inputs) input = in_zone(input, zone);
        put(std::move(moved), zone);
        if (ordered_.size() > most) return false;
      }
    for (ValueId output : graph_.outputs)
      if (is_fixed(output) && !placed_.contains(maker(output))) in_zone(output, blocks);
    return true;
  }

  void put(Node node, int zone) {
    node.block = zone;
    ordered_.push_back(std::move(node));
  }

  // The value itself where it is not fixed or this is the first zone that wants it.
  ValueId in_zone(ValueId value, int zone) {
    if (!is_fixed(value)) return value;
    if (const auto known = own_.find({value, zone}); known != own_.end()) return known->second;
    Node copy = node(maker(value));
    for (ValueId& input : copy.inputs) input = in_zone(input, zone);
    if (!placed_.insert(maker(value)).second) {
      copy.name = growth_.new_node_name(copy.name);
      for (ValueId& output : copy.outputs) output = copy_of(output);
    }
    for (size_t i = 0; i < copy.outputs.size(); ++i) own_[{node(maker(value)).outputs[i], zone}] = copy.outputs[i];
    put(std::move(copy), zone);
    return own_.at({value, zone});
  }

  ValueId copy_of(ValueId value) {
    const ValueId copy = growth_.new_value(graph_.values[static_cast<size_t>(value)].name);
    graph_.values[static_cast<size_t>(copy)].shape = growth_.shape(value, false);
    growth_.other_shapes[static_cast<size_t>(copy)] = growth_.shape(value, true);
    return copy;
  }

  GraphGrowth& growth_;
  Graph& graph_;
  std::vector<NodeId> makers_;
  std::vector<std::set<NodeId>> readers_;  // −1: the graph's outputs
  std::vector<bool> fixed_;                // of the nodes
  std::vector<int> zones_;                 // of the nodes
  std::vector<Node> ordered_;
  std::set<NodeId> placed_;                                // fixed ones
  std::map<std::pair<ValueId, int>, ValueId> own_;         // (fixed value, zone) → the one that the zone reads
};

}  // namespace

void find_blocks(GraphGrowth& growth) { BlockFinder(growth).run(); }

}  // namespace espalier
