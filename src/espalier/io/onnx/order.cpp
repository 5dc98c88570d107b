#include "espalier/io/onnx/order.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr size_t kShownNodes = 8;

void add_captures(const OnnxGraph& graph, std::vector<std::string_view>& reads) {
  std::unordered_set<std::string_view> local;
  for (const OnnxValueInfo& input : graph.inputs) local.insert(input.name);
  for (const OnnxTensor& tensor : graph.initializers) local.insert(tensor.name);
  for (const OnnxSparseTensor& sparse : graph.sparse_initializers) local.insert(sparse.values.name);
  for (const OnnxNode& node : graph.nodes) local.insert(node.outputs.begin(), node.outputs.end());
  for (const OnnxNode& node : graph.nodes)
    for (std::string_view name : onnx_reads(node))
      if (!local.contains(name)) reads.push_back(name);
}

std::vector<std::vector<size_t>> consumers(const std::vector<OnnxNode>& nodes) {
  std::unordered_map<std::string_view, size_t> producers;
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const std::string& name : nodes[i].outputs)
      if (!name.empty()) producers.emplace(name, i);
  std::vector<std::vector<size_t>> edges(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i)
    for (std::string_view name : onnx_reads(nodes[i]))
      if (const auto producer = producers.find(name); producer != producers.end()) edges[producer->second].push_back(i);
  return edges;
}

// Depth first from one vertex; the path stands in `path`, so that no recursion is needed.
class CycleSearch {
 public:
  explicit CycleSearch(const std::vector<std::vector<size_t>>& edges) : edges_(edges), state_(edges.size()) {}

  bool from(size_t start) {
    if (state_[start] != kNew) return false;
    enter(start);
    while (!path_.empty()) {
      auto& [vertex, next] = path_.back();
      if (next == edges_[vertex].size()) {
        state_[vertex] = kDone;
        path_.pop_back();
        continue;
      }
      const size_t to = edges_[vertex][next++];
      if (state_[to] == kOnPath) return close(to), true;
      if (state_[to] == kNew) enter(to);
    }
    return false;
  }
  std::vector<size_t> cycle;

 private:
  enum State : char { kNew, kOnPath, kDone };
  void enter(size_t vertex) {
    state_[vertex] = kOnPath;
    path_.emplace_back(vertex, 0);
  }
  void close(size_t to) {
    auto at = std::find_if(path_.begin(), path_.end(), [&](const auto& step) { return step.first == to; });
    for (; at != path_.end(); ++at) cycle.push_back(at->first);
  }

  const std::vector<std::vector<size_t>>& edges_;
  std::vector<State> state_;
  std::vector<std::pair<size_t, size_t>> path_;  // vertex, next of its edges
};

}  // namespace

std::vector<std::string_view> onnx_reads(const OnnxNode& node) {
  std::vector<std::string_view> reads(node.inputs.begin(), node.inputs.end());
  std::erase(reads, std::string_view());
  for (const OnnxAttribute& attribute : node.attributes)
    for (const OnnxGraph& graph : attribute.graphs) add_captures(graph, reads);
  return reads;
}

std::vector<size_t> find_cycle(const std::vector<std::vector<size_t>>& edges) {
  CycleSearch search(edges);
  for (size_t i = 0; i < edges.size(); ++i)
    if (search.from(i)) return search.cycle;
  return {};
}

std::string describe_disorder(const std::vector<OnnxNode>& nodes, size_t reader, size_t producer,
                              std::string_view name) {
  const std::vector<size_t> cycle = find_cycle(consumers(nodes));
  if (cycle.empty())
    return fmt::format("{} reads '{}', which only the later {} produces: expected nodes in topological order",
                       describe(nodes[reader], reader), printable(name), describe(nodes[producer], producer));
  std::string text;
  for (size_t i = 0; i < std::min(cycle.size(), kShownNodes); ++i)
    text += fmt::format("{} -> ", describe(nodes[cycle[i]], cycle[i]));
  if (cycle.size() > kShownNodes) text += fmt::format("{} more -> ", cycle.size() - kShownNodes);
  return fmt::format("expected a graph without cycles, found {}{}", text, describe(nodes[cycle[0]], cycle[0]));
}

}  // namespace espalier
