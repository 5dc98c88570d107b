#include "espalier/lab/interpreter/interpreter.h"

#include <limits>
#include <map>

#include "espalier/core/error.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {
std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> registry;
  return registry;
}

// Under mixed precision statistics and exponentials are of fp32 numbers.
void widen(const Node& node, std::vector<at::Tensor>& inputs) {
  if (!is_norm(node) && node.op != "Softmax") return;
  for (at::Tensor& input : inputs)
    if (input.scalar_type() == at::kHalf || input.scalar_type() == at::kBFloat16) input = input.to(at::kFloat);
}

}  // namespace

RegisterKernel::RegisterKernel(const std::string& op, Kernel kernel) { kernels()[op] = kernel; }

const Kernel& find_kernel(const std::string& op) {
  auto found = kernels().find(op);
  ESP_ASSERT(found != kernels().end(), "no interpreter kernel for {}", op);
  return found->second;
}

at::Tensor Weights::get(const std::string& parameter) {
  auto [entry, fresh] = cached_.try_emplace(parameter);
  if (fresh) entry->second = to_torch(graph_->parameter(parameter).load());
  return entry->second;
}

std::vector<std::pair<std::string, at::Tensor>> Weights::make_trainable() {
  std::vector<std::pair<std::string, at::Tensor>> leaves;
  for (const auto& parameter : graph_->parameters()) {
    at::Tensor leaf = get(parameter->name()).detach().clone().set_requires_grad(true);
    set(parameter->name(), leaf);
    leaves.emplace_back(parameter->name(), leaf);
  }
  return leaves;
}

Interpreter::Interpreter(const Graph& graph, Weights& weights)
    : graph_(graph), weights_(weights), last_use_(graph.values.size(), -1) {
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (ValueId input : graph.nodes[n].inputs) last_use_[static_cast<size_t>(input)] = static_cast<NodeId>(n);
    kernels_.push_back(&find_kernel(graph.nodes[n].op));
  }
  for (ValueId output : graph.outputs) last_use_[static_cast<size_t>(output)] = std::numeric_limits<NodeId>::max();
}

void Interpreter::run(Environment& values, NodeId first, NodeId last, const Observer* observer, KvCache* cache) const {
  auto parameter = [this](const std::string& name) { return weights_.get(name); };
  for (NodeId n = first; n < last; ++n) {
    const Node& node = graph_.nodes[static_cast<size_t>(n)];
    std::vector<at::Tensor> inputs;
    for (ValueId input : node.inputs) inputs.push_back(values.at(input));
    if (observer && observer->before) observer->before(n, node, inputs);
    widen(node, inputs);
    auto outputs = (*kernels_[static_cast<size_t>(n)])({node, inputs, parameter, cache, cache ? cache->length : 0, batch_momentum_});
    if (observer && observer->after) observer->after(n, node, outputs);
    for (size_t i = 0; i < outputs.size(); ++i) values[node.outputs[i]] = std::move(outputs[i]);
    for (ValueId input : node.inputs)
      if (last_use_[static_cast<size_t>(input)] == n) values.erase(input);
  }
}

at::Tensor Interpreter::forward(const at::Tensor& ids, const Observer* observer, KvCache* cache) const {
  Environment values{{graph_.inputs.at(0), ids}};
  run(values, 0, static_cast<NodeId>(graph_.nodes.size()), observer, cache);
  if (cache) cache->length += ids.size(1);
  return values.at(graph_.outputs.at(0));
}

std::pair<NodeId, NodeId> Interpreter::block_range(int block) const {
  const auto nodes = graph_.nodes_of_block(block);
  ESP_ASSERT(!nodes.empty() && nodes.back() - nodes.front() + 1 == static_cast<NodeId>(nodes.size()), "block {}", block);
  return {nodes.front(), nodes.back() + 1};
}

ValueId Interpreter::block_input(int block) const {
  const auto [first, last] = block_range(block);
  std::unordered_set<ValueId> crossing;
  for (size_t n = static_cast<size_t>(first); n < graph_.nodes.size(); ++n)
    for (ValueId input : graph_.nodes[n].inputs) crossing.insert(input);
  for (size_t n = static_cast<size_t>(first); n < graph_.nodes.size(); ++n)
    for (ValueId output : graph_.nodes[n].outputs) crossing.erase(output);
  for (ValueId input : graph_.inputs) crossing.erase(input);
  ESP_ASSERT(crossing.size() == 1, "block {} reads {} values of earlier blocks", block, crossing.size());
  return *crossing.begin();
}

at::Tensor token_tensor(const std::vector<int32_t>& ids) {
  return at::tensor(std::vector<int64_t>(ids.begin(), ids.end())).unsqueeze(0);
}

}  // namespace espalier
