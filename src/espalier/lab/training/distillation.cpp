#include "espalier/lab/training/distillation.h"

#include <algorithm>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/training.h"

namespace espalier {
namespace {

// Outputs of the blocks' last nodes and attention probabilities of a forward.
class Taps {
 public:
  Taps(const Graph& graph, bool features, bool attention) {
    if (features)
      for (int block = 0; block < graph.block_count; ++block) ends_.push_back(graph.nodes_of_block(block).back());
    observer_.before = [this, attention](NodeId, const Node& node, std::vector<at::Tensor>& inputs) {
      if (attention && node.op == "Attention") probabilities.push_back(attention_of(node, inputs));
    };
    observer_.after = [this](NodeId n, const Node&, std::vector<at::Tensor>& outputs) {
      if (std::find(ends_.begin(), ends_.end(), n) != ends_.end()) features_.push_back(outputs.front());
    };
  }
  Taps(const Taps&) = delete;

  const Observer* observer() const { return &observer_; }
  void clear() {
    features_.clear();
    probabilities.clear();
  }
  const std::vector<at::Tensor>& features() const { return features_; }
  std::vector<at::Tensor> probabilities;  // [batch, queries, keys], the mean over heads, of every attention node

 private:
  static at::Tensor attention_of(const Node& node, const std::vector<at::Tensor>& inputs) {
    const int64_t size = node.integer("head_size");
    const auto heads = [&](const at::Tensor& x) { return x.unflatten(-1, {-1, size}).transpose(1, 2); };
    const at::Tensor q = heads(inputs[0]), k = heads(inputs[1]);
    const at::Tensor keys = k.repeat_interleave(q.size(1) / k.size(1), 1);
    at::Tensor scores = at::matmul(q * node.real("scale"), keys.transpose(-1, -2));
    if (node.flag_or("causal", true))
      scores = scores.masked_fill(at::ones({q.size(2), k.size(2)}, at::kBool).triu(1), -std::numeric_limits<float>::infinity());
    return at::softmax(scores, -1).mean(1);
  }

  std::vector<NodeId> ends_;
  std::vector<at::Tensor> features_;
  Observer observer_;
};

int64_t attention_nodes(const Graph& graph) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) { return node.op == "Attention"; });
}

// Classes last: [n, k, 1, 1] of some classifiers becomes [n, k].
at::Tensor scores(const at::Tensor& output) { return output.dim() == 4 ? output.flatten(1) : output; }

// KL(p ‖ q) of rows that are distributions.
at::Tensor row_divergence(const at::Tensor& p, const at::Tensor& q) {
  constexpr double kLeast = 1e-9;
  return (p * ((p + kLeast).log() - (q + kLeast).log())).sum(-1).mean();
}

class Distillation : public Plugin {
 public:
  Distillation(const Graph& student, const Graph& teacher, const DistillationOptions& options)
      : options_(options),
        weights_(teacher),
        teacher_(teacher, weights_),
        student_taps_(student, options.features > 0, options.attention > 0),
        teacher_taps_(teacher, options.features > 0, options.attention > 0) {
    if (options.features > 0 && (student.block_count == 0 || student.block_count != teacher.block_count))
      throw UserError("training: option distill-features", "blocks of the teacher", fmt::format("{}, and at least one", student.block_count), fmt::format("{}", teacher.block_count));
    if (options.attention > 0 && (attention_nodes(student) == 0 || attention_nodes(student) != attention_nodes(teacher)))
      throw UserError("training: option distill-attention", "attention layers of the teacher", fmt::format("{}, and at least one", attention_nodes(student)),
                      fmt::format("{}", attention_nodes(teacher)));
  }

  std::string id() const override { return "distillation"; }

  const Observer* observer() override { return options_.features > 0 || options_.attention > 0 ? student_taps_.observer() : nullptr; }
  void on_batch(Training&, TrainingBatch&) override { student_taps_.clear(); }

  at::Tensor extra_loss(Training& training) override {
    const at::Tensor wanted = teach(training.batch().inputs);
    at::Tensor loss = at::zeros({});
    if (options_.outputs > 0) loss = loss + output_divergence(training.output(), wanted) * options_.outputs;
    for (size_t i = 0; i < teacher_taps_.features().size(); ++i) loss = loss + feature_distance(i) * (options_.features / static_cast<double>(teacher_taps_.features().size()));
    const auto& attention = teacher_taps_.probabilities;
    for (size_t i = 0; i < attention.size(); ++i)
      loss = loss + row_divergence(attention[i], student_taps_.probabilities[i]) * (options_.attention / static_cast<double>(attention.size()));
    return loss;
  }

 private:
  at::Tensor teach(const at::Tensor& inputs) {
    at::NoGradGuard no_gradients;
    teacher_taps_.clear();
    return teacher_.forward(inputs, teacher_taps_.observer());
  }

  at::Tensor output_divergence(const at::Tensor& output, const at::Tensor& wanted) const {
    if (output.sizes() != wanted.sizes())
      throw UserError("training", "the teacher's output", to_string(output.sizes().vec()), to_string(wanted.sizes().vec()));
    const double t = options_.temperature;
    const at::Tensor target = at::log_softmax(scores(wanted) / t, -1), found = at::log_softmax(scores(output) / t, -1);
    return (target.exp() * (target - found)).sum(-1).mean() * (t * t);
  }

  at::Tensor feature_distance(size_t block) const {
    const at::Tensor &found = student_taps_.features()[block], &wanted = teacher_taps_.features()[block];
    if (found.sizes() != wanted.sizes())
      throw UserError("training: option distill-features", fmt::format("the teacher's output of block {}", block), to_string(found.sizes().vec()), to_string(wanted.sizes().vec()));
    return (found - wanted).square().mean();
  }

  DistillationOptions options_;
  Weights weights_;
  Interpreter teacher_;
  Taps student_taps_, teacher_taps_;
};

}  // namespace

std::unique_ptr<Plugin> make_distillation(const Graph& student, const Graph& teacher, const DistillationOptions& options) {
  return std::make_unique<Distillation>(student, teacher, options);
}

}  // namespace espalier
