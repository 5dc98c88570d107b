// Runs a graph on ATen. Autograd works when weights or inputs require gradients. Observers see and may replace the
// inputs and outputs of every node.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "espalier/graph/graph.h"
#include "espalier/lab/interpreter/kernel.h"

namespace espalier {

// fp32 tensors of a graph's parameters, made on first use.
class Weights {
 public:
  explicit Weights(const Graph& graph) : graph_(&graph) {}
  at::Tensor get(const std::string& parameter);
  void set(const std::string& parameter, at::Tensor value) { cached_[parameter] = std::move(value); }
  void release(const std::string& parameter) { cached_.erase(parameter); }
  void release_all() { cached_.clear(); }
  // Copies of all parameters as leaves that require gradients, in declared order.
  std::vector<std::pair<std::string, at::Tensor>> make_trainable();

 private:
  const Graph* graph_;
  std::unordered_map<std::string, at::Tensor> cached_;
};

using Environment = std::unordered_map<ValueId, at::Tensor>;

struct Observer {
  std::function<void(NodeId, const Node&, std::vector<at::Tensor>& inputs)> before;
  std::function<void(NodeId, const Node&, std::vector<at::Tensor>& outputs)> after;
};

class Interpreter {
 public:
  Interpreter(const Graph& graph, Weights& weights);

  // Runs nodes [first, last). Values that no later node (of the whole graph) reads are dropped as soon as possible.
  void run(Environment& values, NodeId first, NodeId last, const Observer* observer = nullptr, KvCache* cache = nullptr) const;

  // ids: int64 [batch, tokens]; returns logits [batch, tokens, vocab]. With a cache the ids continue it.
  at::Tensor forward(const at::Tensor& ids, const Observer* observer = nullptr, KvCache* cache = nullptr) const;

  // From now on batch norms normalise by the statistics of the batch, and their running statistics, where they have
  // some, become (1 - momentum) running + momentum batch, in place: Weights must hold copies of their own then
  // (Weights::set). nullopt: inference again.
  void train_batch_norms(std::optional<double> momentum) { batch_momentum_ = momentum; }

  // Nodes of a block are contiguous: [first, last).
  std::pair<NodeId, NodeId> block_range(int block) const;
  // The one value that flows into a block (its residual stream).
  ValueId block_input(int block) const;

  const Graph& graph() const { return graph_; }

 private:
  const Graph& graph_;
  Weights& weights_;
  std::vector<NodeId> last_use_;
  std::vector<const Kernel*> kernels_;
  std::optional<double> batch_momentum_;
};

at::Tensor token_tensor(const std::vector<int32_t>& ids);  // [1, tokens]

}  // namespace espalier
