#include "espalier/lab/training/retrieval_head.h"

#include <torch/optim/adamw.h>

#include <cmath>
#include <map>
#include <numbers>

#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/core/signals.h"
#include "espalier/engine/attention/retrieval_keys.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// The model with its first block alone, whose weights and the last norm's are its own to learn.
class Student {
 public:
  explicit Student(const Model& model) : graph_(model.graph), weights_(graph_), interpreter_(graph_, weights_) {
    for (const Node& node : graph_.nodes) {
      const bool last = node.block == graph_.block_count && node.op != "Linear";
      if (node.block != 0 && !last) continue;
      for (const auto& [role, name] : node.params) {
        if (leaves_.contains(name)) continue;
        leaves_[name] = weights_.get(name).detach().clone().set_requires_grad(true);
        weights_.set(name, leaves_[name]);
      }
    }
  }

  at::Tensor logits(const at::Tensor& ids) const {
    Environment values{{graph_.inputs.at(0), ids}};
    const int blocks = graph_.block_count;
    interpreter_.run(values, 0, interpreter_.block_range(0).second);
    const auto [first, last] = interpreter_.block_range(blocks);
    const ValueId out = blocks == 1 ? interpreter_.block_input(blocks) : interpreter_.block_input(1);
    Environment end{{interpreter_.block_input(blocks), values.at(out)}};
    interpreter_.run(end, first, last);
    return end.at(graph_.outputs.at(0));
  }

  std::vector<at::Tensor> leaves() const {
    std::vector<at::Tensor> list;
    for (const auto& [name, leaf] : leaves_) list.push_back(leaf);
    return list;
  }

  // In the model's precision.
  Tensor learned(const Node* node, const std::string& role) const {
    if (node == nullptr || !node->has_param(role)) return {};
    return from_torch(leaves_.at(node->params.at(role)).detach(), graph_.parameter_of(*node, role).dtype());
  }

 private:
  const Graph& graph_;
  Weights weights_;
  Interpreter interpreter_;
  std::map<std::string, at::Tensor> leaves_;
};

at::Tensor random_windows(const std::vector<int32_t>& tokens, const RetrievalTraining& options, Rng& rng) {
  at::Tensor ids = at::empty({options.batch, options.length}, at::kLong);
  auto* to = ids.data_ptr<int64_t>();
  for (int64_t b = 0; b < options.batch; ++b) {
    const auto begin = static_cast<size_t>(rng.below(tokens.size() - static_cast<size_t>(options.length) + 1));
    for (int64_t i = 0; i < options.length; ++i) *to++ = tokens[begin + static_cast<size_t>(i)];
  }
  return ids;
}

// KL(teacher || student), mean over tokens.
at::Tensor divergence(const at::Tensor& teacher, const at::Tensor& student) {
  const at::Tensor t = at::log_softmax(teacher, -1), s = at::log_softmax(student, -1);
  return (t.exp() * (t - s)).sum(-1).mean();
}

}  // namespace

RetrievalWeights train_retrieval_head(const Model& model, const std::vector<int32_t>& tokens, const RetrievalTraining& options,
                                      const std::function<void(const RetrievalReport&)>& on_report) {
  RetrievalWeights weights = weights_of(model, model.graph);
  if (static_cast<int64_t>(tokens.size()) < 2 * options.length) user_error("retrieval-head: {} tokens of text, fewer than two windows of {}", tokens.size(), options.length);
  at::AutoGradMode with_gradients(true);
  Weights all(model.graph);
  const Interpreter teacher(model.graph, all);
  const Student student(model);
  torch::optim::AdamW optimizer(student.leaves(), torch::optim::AdamWOptions(options.lr));
  Rng rng(options.seed, "retrieval-head/windows");
  double sum = 0;
  int64_t reported = 0;
  for (int64_t step = 0; step < options.steps; ++step) {
    check_interrupted();
    const double rate = options.lr * 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(options.steps)));
    for (auto& group : optimizer.param_groups()) group.options().set_lr(rate);
    const at::Tensor ids = random_windows(tokens, options, rng);
    at::Tensor wanted;
    {
      at::NoGradGuard no_gradients;
      wanted = teacher.forward(ids);
    }
    optimizer.zero_grad();
    const at::Tensor loss = divergence(wanted, student.logits(ids));
    if (!std::isfinite(loss.item<double>())) user_error("retrieval-head: the loss became {} at step {}", loss.item<double>(), step);
    loss.backward();
    optimizer.step();
    sum += loss.item<double>();
    if ((step + 1) % options.report_every != 0 && step + 1 != options.steps) continue;
    on_report({step + 1, sum / static_cast<double>(step + 1 - reported)});
    sum = 0, reported = step + 1;
  }
  const RetrievalNodes nodes = retrieval_nodes(model.graph, model.path.string());
  weights.norm = student.learned(nodes.norm, "weight"), weights.norm_bias = student.learned(nodes.norm, "bias");
  weights.q = student.learned(nodes.q, "weight"), weights.k = student.learned(nodes.k, "weight");
  weights.q_bias = student.learned(nodes.q, "bias"), weights.k_bias = student.learned(nodes.k, "bias");
  weights.q_norm = student.learned(nodes.q_norm, "weight"), weights.k_norm = student.learned(nodes.k_norm, "weight");
  weights.trained = options.length;
  return weights;
}

AttentionLayer first_attention(const Model& model) {
  const RetrievalWeights weights = weights_of(model, model.graph);
  const Node& node = *retrieval_nodes(model.graph, model.path.string()).attention;
  AttentionLayer layer;
  layer.heads = weights.heads, layer.kv_heads = weights.kv_heads, layer.head_size = weights.head_size, layer.scale = node.real("scale");
  for (const Node& rotary : model.graph.nodes) {
    if (rotary.op != "RotaryEmbedding" || rotary.outputs.at(0) != node.inputs.at(0)) continue;
    layer.inverse_frequency = std::get<std::vector<double>>(rotary.attributes.at("inverse_frequency"));
    layer.rotary_scale = rotary.real("scale");
  }
  return layer;
}

TokenChoice retrieval_choice(const RetrievalWeights& weights, const AttentionLayer& layer, const std::vector<int32_t>& ids,
                             const std::vector<int64_t>& positions, const std::function<int64_t(int64_t)>& budget) {
  const auto tokens = static_cast<int64_t>(ids.size());
  const int64_t size = weights.head_size, group = weights.heads / weights.kv_heads;
  RetrievalHead head(weights, layer, tokens);
  head.begin(ids, 0);
  Team team(1);
  team.run([&](int rank) { head.project({&team, rank}, 0); });
  RetrievalKeys keys(weights.kv_heads, size, KvCodec::kF32);
  keys.reserve(tokens);
  for (int64_t g = 0; g < weights.kv_heads; ++g)
    for (int64_t t = 0; t < tokens; ++t) keys.append(g, t, head.keys(t) + g * size);
  std::map<std::pair<int64_t, int64_t>, std::vector<int32_t>> sets;
  RetrievalScores scores;
  LargestScores largest;
  for (const int64_t i : positions)
    for (int64_t g = 0; g < weights.kv_heads; ++g) {
      keys.score(g, head.queries(i) + g * group * size, group, i, scores);
      select_tokens(scores.group, budget(i), largest, sets[{g, i}]);
    }
  return [sets = std::move(sets)](int64_t kv_head, int64_t i) { return sets.at({kv_head, i}); };
}

std::vector<double> captured_attention(const Model& model, const std::vector<int32_t>& ids, const std::vector<int64_t>& positions,
                                       const std::vector<TokenChoice>& choices) {
  at::NoGradGuard no_gradients;
  Weights weights(model.graph);
  const Interpreter interpreter(model.graph, weights);
  const at::Tensor at_positions = at::tensor(positions, at::kLong);
  std::vector<double> sums(choices.size(), 0.0);
  int64_t layers = 0;
  const auto tokens = static_cast<int64_t>(ids.size());
  std::vector<std::vector<at::Tensor>> chosen(choices.size());  // [choice][KV head]: bool [positions, tokens]
  Observer watch;
  watch.before = [&](NodeId, const Node& node, std::vector<at::Tensor>& inputs) {
    if (node.op != "Attention") return;
    const int64_t size = node.integer("head_size");
    const at::Tensor q = inputs[0].squeeze(0).index_select(0, at_positions).unflatten(-1, {-1, size}).transpose(0, 1);
    const at::Tensor k = inputs[1].squeeze(0).unflatten(-1, {-1, size}).transpose(0, 1);
    const int64_t kv_heads = k.size(0), group = q.size(0) / kv_heads;
    if (layers == 0)
      for (size_t c = 0; c < choices.size(); ++c)
        for (int64_t g = 0; g < kv_heads; ++g) {
          at::Tensor mask = at::zeros({at_positions.numel(), tokens}, at::kFloat);
          for (size_t p = 0; p < positions.size(); ++p)
            for (const int32_t j : choices[c](g, positions[p])) mask[static_cast<int64_t>(p)][j] = 1;
          chosen[c].push_back(mask);
        }
    // Neither what comes later nor the query itself.
    const at::Tensor past = at::arange(tokens).unsqueeze(0) < at_positions.unsqueeze(1);
    for (int64_t h = 0; h < q.size(0); ++h) {
      const at::Tensor scores = at::mm(q[h], k[h / group].t()) * node.real("scale");
      const at::Tensor p = at::softmax(scores.masked_fill(past.logical_not(), -INFINITY), -1);
      for (size_t c = 0; c < choices.size(); ++c)
        sums[c] += (p * chosen[c][static_cast<size_t>(h / group)]).sum(-1).mean().item<double>() / static_cast<double>(q.size(0));
    }
    ++layers;
  };
  interpreter.forward(token_tensor(ids), &watch);
  for (double& sum : sums) sum /= static_cast<double>(layers);
  return sums;
}

}  // namespace espalier
