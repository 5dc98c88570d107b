#include "espalier/lab/repair/least_squares.h"

#include <algorithm>

#include "espalier/core/log.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/repair/graph_least_squares.h"
#include "espalier/lab/repair/obs_factor.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr int64_t kWideSystem = 1024;   // fp64 up to this many inputs, fp32 above
constexpr double kSolved = 1e-12;       // of a row's first squared residual
constexpr int64_t kBatchTokens = 4096;

// numerator / denominator for each row; 0 where the row is solved already.
at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator) {
  return at::where(denominator > 0, numerator / denominator, at::zeros_like(numerator));
}

// Rows w of w A = b over the kept entries alone, each row with its own step.
at::Tensor conjugate_gradients(const at::Tensor& a, const at::Tensor& b, const at::Tensor& start, const at::Tensor& keep, int64_t iterations) {
  const at::Tensor scale = a.diagonal().reciprocal();
  at::Tensor w = masked(start, keep);
  at::Tensor residual = masked(b - w.matmul(a), keep);
  at::Tensor direction = residual * scale;
  at::Tensor energy = (residual * direction).sum(1, true);
  const at::Tensor solved = energy * kSolved;
  for (int64_t i = 0; i < iterations && (energy > solved).any().item<bool>(); ++i) {
    check_interrupted();
    const at::Tensor image = masked(direction.matmul(a), keep);
    const at::Tensor step = ratio(energy, (direction * image).sum(1, true));
    w = w + step * direction;
    residual = residual - step * image;
    const at::Tensor preconditioned = residual * scale, next = (residual * preconditioned).sum(1, true);
    direction = preconditioned + ratio(next, energy) * direction;
    energy = next;
  }
  return w;
}

// A layer to fit, and what is summed up for it.
struct Target {
  NodeId linear, dense;   // in the pruned and in the dense graph
  at::Tensor keep, bias;  // keep as in fit_survivors; bias [out] or undefined
  at::Tensor cross;       // [out, in]
};

// {outputs, inputs} of a Linear.
std::pair<int64_t, int64_t> widths_of(const Graph& graph, const Node& node) {
  const Shape& shape = graph.parameter_of(node, "weight").shape();
  return node.flag_or("transposed", false) ? std::pair(shape[1], shape[0]) : std::pair(shape[0], shape[1]);
}

at::Tensor keep_of(const PruneJob& job, const Node& node) {
  const auto found = job.masks().find(node.params.at("weight"));
  if (found == job.masks().end()) return {};
  const at::Tensor keep = bool_mask(found->second);
  return node.flag_or("transposed", false) ? keep.t().contiguous() : keep;
}

std::optional<Target> target_of(const PruneJob& job, NodeId n, const Graph& dense, const std::map<std::string, NodeId>& dense_nodes) {
  const Node& node = job.graph().nodes[static_cast<size_t>(n)];
  const auto same = dense_nodes.find(node.name);
  if (node.op != "Linear" || same == dense_nodes.end()) return std::nullopt;
  const auto [outputs, inputs] = widths_of(job.graph(), node);
  const auto [dense_outputs, dense_inputs] = widths_of(dense, dense.nodes[static_cast<size_t>(same->second)]);
  Target target{n, same->second, keep_of(job, node), {}, {}};
  if (!target.keep.defined() && inputs == dense_inputs) return std::nullopt;
  if (outputs != dense_outputs) {
    warn("repair ls: {} has {} of {} outputs left, and which ones is not recorded; it stays as it is", node.name, outputs, dense_outputs);
    return std::nullopt;
  }
  if (node.has_param("bias")) target.bias = to_torch(job.graph().parameter_of(node, "bias").load());
  target.cross = at::zeros({outputs, inputs}, inputs <= kWideGram ? at::kDouble : at::kFloat);
  return target;
}

// Layers that read the same value are fitted together; in the order in which they run.
using Targets = std::vector<std::vector<Target>>;

Targets targets_of_block(const PruneJob& job, int block, const Graph& dense) {
  std::map<std::string, NodeId> dense_nodes;
  for (NodeId n : dense.nodes_of_block(block))
    if (dense.nodes[static_cast<size_t>(n)].op == "Linear") dense_nodes[dense.nodes[static_cast<size_t>(n)].name] = n;
  const auto input_of = [&](const Target& target) { return job.graph().nodes[static_cast<size_t>(target.linear)].inputs[0]; };
  Targets groups;
  for (NodeId n : job.graph().nodes_of_block(block)) {
    auto target = target_of(job, n, dense, dense_nodes);
    if (!target) continue;
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return input_of(g.front()) == input_of(*target); });
    (group == groups.end() ? groups.emplace_back() : *group).push_back(std::move(*target));
  }
  return groups;
}

// The dense and the pruned model before the same block, on the same batches.
class Pair {
 public:
  Pair(const PruneJob& job, const Graph& dense, const TokenSequences& windows)
      : dense_weights_(dense), dense_interpreter_(dense, dense_weights_), dense_stream_(dense, windows, kBatchTokens),
        pruned_stream_(job.graph(), windows, kBatchTokens) {}

  // X^T X of a group's input; adds T^T X to each target, T what the dense layer gives less the bias.
  at::Tensor gather(const Graph& graph, std::vector<Target>& group) {
    const Node& reader = graph.nodes[static_cast<size_t>(group.front().linear)];
    GramAccumulator gram(widths_of(graph, reader).second, reader.name);
    std::map<NodeId, at::Tensor> wanted;
    Observer of_pruned;
    of_pruned.before = [&](NodeId n, const Node& node, std::vector<at::Tensor>& inputs) {
      if (n != group.front().linear) return;
      gram.add(inputs[0]);
      const at::Tensor x = as_tokens(inputs[0], inputs[0].size(-1), node.name);
      for (auto& target : group) {
        const at::Tensor t = wanted.at(target.dense).flatten(0, -2);
        target.cross.add_((target.bias.defined() ? t - target.bias : t).t().matmul(x));
      }
    };
    pruned_stream_.observe(of_pruned, [&](size_t batch) { wanted = dense_outputs(batch, group); });
    return gram.gram();
  }

  void repaired() { pruned_stream_.forget_weights(); }

  void advance() {
    dense_weights_.release_all();
    dense_stream_.advance();
    pruned_stream_.advance();
  }

 private:
  std::map<NodeId, at::Tensor> dense_outputs(size_t batch, const std::vector<Target>& group) {
    std::map<NodeId, at::Tensor> outputs;
    Observer observer;
    observer.after = [&](NodeId n, const Node&, std::vector<at::Tensor>& values) {
      if (std::any_of(group.begin(), group.end(), [&](const Target& target) { return target.dense == n; })) outputs[n] = values[0];
    };
    const int block = dense_stream_.next_block();
    const auto [first, last] = dense_interpreter_.block_range(block);
    Environment values{{dense_interpreter_.block_input(block), dense_stream_.hidden()[batch]}};
    dense_interpreter_.run(values, first, last, &observer);
    return outputs;
  }

  Weights dense_weights_;
  Interpreter dense_interpreter_;
  BlockStream dense_stream_, pruned_stream_;
};

// Not by PruneJob::set_weight, which notes what a method removed: a repair removes nothing.
void store(PruneJob& job, NodeId linear, const at::Tensor& weight) {
  const Node& node = job.graph().nodes[static_cast<size_t>(linear)];
  Parameter& parameter = job.graph().parameter_of(node, "weight");
  parameter.assign(from_torch(node.flag_or("transposed", false) ? weight.t().contiguous() : weight, parameter.dtype()));
}

int64_t repair_block(PruneJob& job, Pair& pair, int block, const Graph& dense, const LeastSquaresOptions& options) {
  int64_t repaired = 0;
  for (auto& group : targets_of_block(job, block, dense)) {
    const at::Tensor gram = pair.gather(job.graph(), group);
    for (const auto& target : group) {
      const std::string& name = job.graph().nodes[static_cast<size_t>(target.linear)].name;
      store(job, target.linear, fit_survivors(job.weight(target.linear), target.keep, gram, target.cross, options, name));
      ++repaired;
    }
    pair.repaired();
  }
  return repaired;
}

}  // namespace

LeastSquaresOptions least_squares_options(const RepairSettings& given) {
  require_known(given, {"damp", "iterations"});
  LeastSquaresOptions options;
  read_positive(given, "damp", options.damp);
  read_positive(given, "iterations", options.iterations);
  return options;
}

at::Tensor fit_survivors(const at::Tensor& w, const at::Tensor& keep, const at::Tensor& gram, const at::Tensor& cross,
                         const LeastSquaresOptions& options, const std::string& name) {
  const double lambda = options.damp * gram.diagonal().mean().item<double>();
  if (lambda == 0) return masked(w, keep);  // the layer's inputs are all zero
  const auto type = gram.size(0) <= kWideSystem ? at::kDouble : at::kFloat;
  const at::Tensor a = damped_hessian(gram, options.damp, name).to(type), start = masked(w.to(type), keep);
  const at::Tensor b = cross.to(type) + lambda * start;
  if (!keep.defined()) {
    const auto [lower, info] = at::linalg_cholesky_ex(a);
    if (info.item<int64_t>() == 0) return at::cholesky_solve(b.t(), lower).t().to(w.scalar_type());
  }
  return conjugate_gradients(a, b, start, keep, options.iterations).to(w.scalar_type());
}

void repair_by_least_squares(PruneJob& job, const LeastSquaresOptions& options) {
  if (job.model().task != Task::kText || job.graph().block_count == 0) return repair_graph_by_least_squares(job, options);
  at::NoGradGuard no_gradients;
  const Model dense = job.open_dense();
  if (dense.graph.block_count != job.graph().block_count)
    throw UserError("--repair ls", "blocks", fmt::format("the {} of the dense model; lora, finetune and distill take any number", dense.graph.block_count),
                    fmt::format("{}", job.graph().block_count));
  Pair pair(job, dense.graph, job.windows());
  Progress progress("repair", job.graph().block_count, "block");
  int64_t repaired = 0;
  for (int block = 0; block < job.graph().block_count; ++block) {
    check_interrupted();
    repaired += repair_block(job, pair, block, dense.graph, options);
    pair.advance();
    progress.advance(1);
  }
  if (repaired == 0) user_error("--repair ls: no layer lost inputs or single weights, so there is nothing to fit; lora, finetune and distill train the rest");
}

}  // namespace espalier
