#include "espalier/lab/allocation/channel_classes.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "espalier/lab/measure/layer_columns.h"

namespace espalier {
namespace {

struct Side {
  std::vector<int32_t> sets;  // distinct
  bool frozen = false;
};

Side side_of(const Coupling& coupling, const Node& node, size_t axis) {
  Side side;
  std::set<int32_t> sets;
  for (int32_t set : coupling.canonical_sets(node.params.at("weight"), axis)) {
    if (set >= 0) sets.insert(set);
    side.frozen = side.frozen || set < 0;
  }
  side.sets.assign(sets.begin(), sets.end());
  return side;
}

class UnionFind {
 public:
  explicit UnionFind(size_t count) : parent_(count) { std::iota(parent_.begin(), parent_.end(), size_t{0}); }
  size_t find(size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void unite(size_t a, size_t b) {
    a = find(a);
    b = find(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<size_t> parent_;
};

}  // namespace

bool is_depthwise(const Graph& graph, const Node& node) {
  if (node.op != "Conv") return false;
  const int64_t group = node.integer_or("group", 1);
  return group > 1 && graph.parameter_of(node, "weight").shape()[1] == 1;
}

std::vector<ChannelClass> channel_classes(const Graph& graph, const Coupling& coupling) {
  std::vector<NodeId> layers;
  std::vector<Side> outputs;
  std::map<int32_t, size_t> first_of_set;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!is_weighted_layer(node) || is_depthwise(graph, node)) continue;
    layers.push_back(static_cast<NodeId>(n));
    outputs.push_back(side_of(coupling, node, 1 - input_axis(node)));
  }
  UnionFind same(layers.size());
  for (size_t l = 0; l < layers.size(); ++l)
    for (int32_t set : outputs[l].sets) same.unite(first_of_set.try_emplace(set, l).first->second, l);
  std::map<size_t, ChannelClass> classes;
  for (size_t l = 0; l < layers.size(); ++l) {
    if (outputs[l].sets.empty()) continue;
    ChannelClass& its = classes[same.find(l)];
    if (its.producers.empty()) its.label = graph.nodes[static_cast<size_t>(layers[l])].name;
    its.producers.push_back(layers[l]);
    its.sets.insert(its.sets.end(), outputs[l].sets.begin(), outputs[l].sets.end());
    its.partly_frozen = its.partly_frozen || outputs[l].frozen;
  }
  for (NodeId n : layers) {
    std::set<size_t> reads;
    const Node& node = graph.nodes[static_cast<size_t>(n)];
    for (int32_t set : side_of(coupling, node, input_axis(node)).sets)
      if (const auto found = first_of_set.find(set); found != first_of_set.end()) reads.insert(same.find(found->second));
    for (size_t root : reads) classes.at(root).consumers.push_back(n);
  }
  std::vector<ChannelClass> list;
  for (auto& [root, its] : classes) {
    std::sort(its.sets.begin(), its.sets.end());
    its.sets.erase(std::unique(its.sets.begin(), its.sets.end()), its.sets.end());
    list.push_back(std::move(its));
  }
  return list;
}

}  // namespace espalier
