#include "espalier/lab/repair/graph_least_squares.h"

#include <map>
#include <set>

#include "espalier/core/log.h"
#include "espalier/core/progress.h"
#include "espalier/lab/measure/layer_columns.h"
#include "espalier/lab/measure/node_sweep.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/methods/structures/calibration_inputs.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr int64_t kColumns = 65536;  // output positions of a convolution that are looked at

struct LayerTarget {
  NodeId layer = -1, dense = -1;
  at::Tensor outputs;  // of the dense layer: those that are left; undefined: all
  at::Tensor keep;     // [groups, outputs, inputs], or undefined
};

class LayerTargets {
 public:
  LayerTargets(const PruneJob& job, const Graph& dense) : job_(job), dense_(dense) {
    for (size_t n = 0; n < dense.nodes.size(); ++n) dense_nodes_[dense.nodes[n].name] = static_cast<NodeId>(n);
    std::set<std::string> taken;
    for (size_t n = 0; n < job.graph().nodes.size(); ++n) {
      const Node& node = job.graph().nodes[n];
      if (!is_weighted_layer(node) || !taken.insert(node.params.at("weight")).second) continue;
      if (auto target = target_of(static_cast<NodeId>(n))) by_layer_[static_cast<NodeId>(n)] = std::move(*target);
    }
  }

  const LayerTarget* find(NodeId layer) const {
    const auto found = by_layer_.find(layer);
    return found == by_layer_.end() ? nullptr : &found->second;
  }
  size_t count() const { return by_layer_.size(); }

 private:
  std::optional<LayerTarget> target_of(NodeId n) const {
    const Node& node = job_.graph().nodes[static_cast<size_t>(n)];
    const auto same = dense_nodes_.find(node.name);
    if (same == dense_nodes_.end()) return std::nullopt;
    const Parameter& weight = job_.graph().parameter_of(node, "weight");
    const Shape& whole = dense_.parameter_of(dense_.nodes[static_cast<size_t>(same->second)], "weight").shape();
    const size_t in = input_axis(node), out = 1 - in;
    const auto mask = job_.masks().find(weight.name());
    if (mask == job_.masks().end() && weight.shape()[in] == whole[in]) return std::nullopt;
    LayerTarget target{n, same->second, {}, {}};
    if (weight.shape()[out] != whole[out]) {
      const auto* kept = weight.kept(out);
      if (!kept || weight.source().shape()[out] != whole[out]) {
        warn("repair ls: {} has {} of {} outputs left, and which ones is not recorded; it stays as it is", node.name, weight.shape()[out], whole[out]);
        return std::nullopt;
      }
      target.outputs = at::tensor(*kept, at::kLong);
    }
    if (mask != job_.masks().end()) target.keep = layer_matrix(node, bool_mask(mask->second), layer_shape(job_.graph(), node)) > 0;
    return target;
  }

  const PruneJob& job_;
  const Graph& dense_;
  std::map<std::string, NodeId> dense_nodes_;
  std::map<NodeId, LayerTarget> by_layer_;
};

// X^T X and T^T X of a layer, over all batches.
struct NormalEquations {
  at::Tensor gram, cross;
};

NormalEquations gather(const Graph& graph, const NodeSweep& pruned, const NodeSweep& dense, const Graph& dense_graph, const LayerTarget& target, uint64_t seed) {
  const Node& node = graph.nodes[static_cast<size_t>(target.layer)];
  const ValueId whole = dense_graph.nodes[static_cast<size_t>(target.dense)].outputs[0];
  int64_t pictures = 0;
  for (size_t b = 0; b < pruned.batch_count(); ++b) pictures += pruned.input(b).size(0);
  const at::Tensor positions = sampled_positions(graph, node, pictures, kColumns, seed);
  const at::Tensor bias = node.has_param("bias") ? to_torch(graph.parameter_of(node, "bias").load()).to(at::kFloat) : at::Tensor();
  const int64_t channels = node.op == "Linear" ? -1 : 1;
  LayerGram gram(node.name);
  NormalEquations equations;
  for (size_t b = 0; b < pruned.batch_count(); ++b) {
    const at::Tensor x = layer_columns(graph, node, pruned.input(b), positions);
    at::Tensor y = dense.value(b, whole).to(at::kFloat);
    if (target.outputs.defined()) y = y.index_select(channels, target.outputs);
    if (bias.defined()) y = y - (channels == -1 ? bias : bias.view(y.dim() == 3 ? std::vector<int64_t>{-1, 1} : std::vector<int64_t>{-1, 1, 1}));
    const at::Tensor product = at::bmm(layer_outputs(graph, node, y, positions).transpose(1, 2), x).to(at::kDouble);
    equations.cross = equations.cross.defined() ? equations.cross + product : product;
    gram.add(x);
  }
  equations.gram = gram.gram();
  return equations;
}

void fit(Graph& graph, const LayerTarget& target, const NormalEquations& equations, const LeastSquaresOptions& options) {
  const Node& node = graph.nodes[static_cast<size_t>(target.layer)];
  Parameter& parameter = graph.parameter_of(node, "weight");
  const at::Tensor stored = to_torch(parameter.load());
  const at::Tensor matrix = layer_matrix(node, stored, layer_shape(graph, node));
  std::vector<at::Tensor> groups;
  for (int64_t g = 0; g < matrix.size(0); ++g)
    groups.push_back(fit_survivors(matrix[g], target.keep.defined() ? target.keep[g] : at::Tensor(), equations.gram[g], equations.cross[g], options, node.name));
  parameter.assign(from_torch(stored_weight(node, at::stack(groups), stored), parameter.dtype()));
}

}  // namespace

void repair_graph_by_least_squares(PruneJob& job, const LeastSquaresOptions& options) {
  at::NoGradGuard no_gradients;
  const Model dense = job.open_dense();
  const LayerTargets targets(job, dense.graph);
  if (targets.count() == 0) user_error("--repair ls: no layer lost inputs or single weights, so there is nothing to fit; finetune and distill train the rest");
  const auto batches = calibration_inputs(job, calibration_mode(job, ""), 0);
  NodeSweep pruned(job.graph(), batches), whole(dense.graph, batches);
  Progress progress("repair", static_cast<int64_t>(job.graph().nodes.size()), "node");
  for (; !pruned.done(); pruned.advance(), progress.advance(1)) {
    const LayerTarget* target = targets.find(pruned.next());
    if (!target) continue;
    while (whole.next() <= target->dense) whole.advance();
    fit(job.graph(), *target, gather(job.graph(), pruned, whole, dense.graph, *target, job.settings().seed), options);
  }
}

}  // namespace espalier
