#include "espalier/lab/training/duo_gates.h"

#include <torch/optim/adamw.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "espalier/core/error.h"
#include "espalier/core/signals.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/interpreter/masked_attention.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// [1, tokens, heads · size] → [heads, tokens, size] and back.
at::Tensor split_heads(const at::Tensor& x, int64_t size) { return x.squeeze(0).unflatten(-1, {-1, size}).transpose(0, 1); }
at::Tensor join_heads(const at::Tensor& x) { return x.transpose(0, 1).flatten(1).unsqueeze(0); }

at::Tensor streaming_attention(const Node& node, const std::vector<at::Tensor>& inputs, const DuoTraining& options) {
  const int64_t size = node.integer("head_size"), window = node.integer_or("window", 0);
  const at::Tensor q = split_heads(inputs[0], size), k = split_heads(inputs[1], size), v = split_heads(inputs[2], size);
  Selection selection;
  selection.kind = Selection::Kind::kTokens, selection.sink = options.sink, selection.window = options.recent;
  return masked_attention(q, k, v, selection_mask(selection, 0, q.size(1), k.size(1), window), node.real("scale")).out;
}

class Trainer {
 public:
  Trainer(const Model& model, const DuoTraining& options) : options_(options), graph_(model.graph.clone()), weights_(graph_), interpreter_(graph_, weights_) {
    infer_shapes(graph_, costing_shapes(model));
    for (const Node& node : graph_.nodes) {
      if (node.op != "Attention") continue;
      if (!node.flag_or("causal", true)) user_error("{}: {} is not causal: there are no streaming heads", model.path.string(), node.name);
      const int64_t size = node.integer("head_size");
      const int64_t heads = graph_.values[static_cast<size_t>(node.inputs[1])].shape.back() / size;
      layer_of_[&node] = gates_.size();
      gates_.push_back(at::ones({heads}, at::kFloat).set_requires_grad(true));
    }
    if (gates_.empty()) user_error("{}: there is no attention", model.path.string());
    head_ = last_linear();
  }

  std::vector<at::Tensor>& gates() { return gates_; }

  // The two terms of the loss, with gradients to the gates.
  std::pair<at::Tensor, at::Tensor> losses(const PasskeySample& sample) {
    const at::Tensor ids = token_tensor(sample.ids);
    const auto tokens = static_cast<int64_t>(sample.ids.size());
    at::Tensor teacher;
    {
      at::NoGradGuard no_gradients;
      Observer watch;
      watch.after = [&](NodeId, const Node& node, std::vector<at::Tensor>& outputs) {
        if (node.op == "Attention") full_[&node] = outputs[0];
      };
      teacher = hidden(ids, watch);
    }
    std::vector<at::Tensor> read;
    Observer mix;
    mix.before = [&](NodeId, const Node& node, std::vector<at::Tensor>& inputs) {
      if (node.op == "Attention") read = inputs;
    };
    mix.after = [&](NodeId, const Node& node, std::vector<at::Tensor>& outputs) {
      if (node.op != "Attention") return;
      const at::Tensor full = options_.full_from_teacher ? full_.at(&node) : outputs[0];
      const at::Tensor& alpha = gates_[layer_of_.at(&node)];
      outputs[0] = join_heads(duo_mix(split_heads(full, node.integer("head_size")), streaming_attention(node, read, options_), alpha));
    };
    const at::Tensor student = hidden(ids, mix);
    const at::Tensor labels = at::arange(tokens) >= sample.first_label;
    return {duo_distillation(teacher.squeeze(0), student.squeeze(0), labels), duo_penalty(gates_)};
  }

 private:
  // What the last Linear, which makes the logits, reads: the output of the last norm.
  NodeId last_linear() const {
    for (auto n = static_cast<NodeId>(graph_.nodes.size()) - 1; n >= 0; --n)
      if (graph_.nodes[static_cast<size_t>(n)].op == "Linear") return n;
    user_error("the model has no output projection");
  }

  at::Tensor hidden(const at::Tensor& ids, const Observer& observer) const {
    Environment values{{graph_.inputs.at(0), ids}};
    interpreter_.run(values, 0, head_, &observer);
    return values.at(graph_.nodes[static_cast<size_t>(head_)].inputs[0]);
  }

  const DuoTraining& options_;
  Graph graph_;
  Weights weights_;
  Interpreter interpreter_;
  NodeId head_ = 0;
  std::map<const Node*, size_t> layer_of_;
  std::map<const Node*, at::Tensor> full_;  // of the teacher's pass
  std::vector<at::Tensor> gates_;           // by attention layer
};

void clamp_gates(std::vector<at::Tensor>& gates) {
  at::NoGradGuard no_gradients;
  for (at::Tensor& gate : gates) gate.clamp_(0, 1);
}

}  // namespace

at::Tensor duo_stream_mask(int64_t tokens, int64_t sink, int64_t recent) {
  Selection selection;
  selection.kind = Selection::Kind::kTokens, selection.sink = sink, selection.window = recent;
  return selection_mask(selection, 0, tokens, tokens);
}

at::Tensor duo_mix(const at::Tensor& full, const at::Tensor& stream, const at::Tensor& alpha) {
  ESP_ASSERT(full.size(0) % alpha.size(0) == 0);
  const at::Tensor gate = alpha.clamp(0, 1).repeat_interleave(full.size(0) / alpha.size(0)).view({-1, 1, 1});
  return gate * full + (1 - gate) * stream;
}

at::Tensor duo_distillation(const at::Tensor& teacher, const at::Tensor& student, const at::Tensor& labels) {
  return (teacher - student).index({labels}).square().mean(-1).mean();
}

at::Tensor duo_penalty(const std::vector<at::Tensor>& alpha) { return at::cat(alpha).abs().mean(); }

double duo_learning_rate(double base, int64_t step, int64_t steps) {
  const auto fifth = static_cast<double>(std::max<int64_t>(1, steps / 5));
  const double rise = std::max(static_cast<double>(step + 1) / fifth, 0.1), fall = std::max(static_cast<double>(steps - step) / fifth, 0.1);
  return base * std::min({1.0, rise, fall});
}

DuoGates train_duo_gates(const Model& model, const std::function<PasskeySample()>& next, const DuoTraining& options,
                         const std::function<void(const DuoReport&)>& on_report) {
  at::AutoGradMode with_gradients(true);
  Trainer trainer(model, options);
  torch::optim::AdamW optimizer(trainer.gates(), torch::optim::AdamWOptions(options.lr).weight_decay(0));
  DuoReport sums{0, 0, 0};
  for (int64_t step = 0; step < options.steps; ++step) {
    check_interrupted();
    for (auto& group : optimizer.param_groups()) group.options().set_lr(duo_learning_rate(options.lr, step, options.steps));
    clamp_gates(trainer.gates());
    optimizer.zero_grad();
    const auto [distillation, penalty] = trainer.losses(next());
    const at::Tensor loss = distillation + options.lambda * penalty;
    if (!std::isfinite(loss.item<double>())) user_error("duo-gates: the loss became {} at step {}", loss.item<double>(), step);
    loss.backward();
    optimizer.step();
    sums.distillation += distillation.item<double>(), sums.penalty += penalty.item<double>();
    if ((step + 1) % options.report_every != 0 && step + 1 != options.steps) continue;
    const auto count = static_cast<double>(step + 1 - sums.step);
    on_report({step + 1, sums.distillation / count, sums.penalty / count});
    sums = {step + 1, 0, 0};
  }
  clamp_gates(trainer.gates());
  DuoGates gates;
  for (const at::Tensor& gate : trainer.gates()) gates.alpha.emplace_back(gate.data_ptr<float>(), gate.data_ptr<float>() + gate.numel());
  return gates;
}

}  // namespace espalier
