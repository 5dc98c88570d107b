#include "espalier/lab/training/text_task.h"

#include "espalier/core/error.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"

namespace espalier {

class TextTask::Teacher {
 public:
  explicit Teacher(const Graph& graph) : weights_(graph), interpreter_(graph, weights_) {}
  at::Tensor log_probabilities(const at::Tensor& ids) const {
    at::NoGradGuard no_gradients;
    return at::log_softmax(interpreter_.forward(ids).flatten(0, 1), -1);
  }

 private:
  Weights weights_;
  Interpreter interpreter_;
};

TextTask::TextTask(const Graph& graph, std::vector<int32_t> tokens, int64_t length, int64_t batch, uint64_t seed, TokenSequences evaluation,
                   const Graph* teacher)
    : length_(length),
      batches_(std::move(tokens), length, batch, seed),
      evaluation_(std::move(evaluation)),
      teacher_(teacher ? std::make_unique<Teacher>(*teacher) : nullptr) {
  Weights weights(graph);
  at::NoGradGuard no_gradients;
  const int64_t vocabulary = Interpreter(graph, weights).forward(at::zeros({1, 1}, at::kLong)).size(-1);
  if (batches_.largest_id() >= vocabulary)
    throw UserError("training text", "token id", fmt::format("less than the vocabulary size {}", vocabulary), fmt::format("{}", batches_.largest_id()));
}

TextTask::~TextTask() = default;

TrainingBatch TextTask::batch(int64_t index, uint64_t order) {
  const at::Tensor ids = batches_.at(index, order);
  return {ids.narrow(1, 0, length_), ids.narrow(1, 1, length_), {}, 1};
}

at::Tensor TextTask::loss(const Graph&, const at::Tensor& output, const TrainingBatch& batch) const {
  const at::Tensor logits = output.flatten(0, 1);
  if (batch.weights.defined()) return (at::cross_entropy_loss(logits, batch.targets.flatten(), {}, at::Reduction::None) * batch.weights.flatten()).sum();
  if (!teacher_) return at::cross_entropy_loss(logits, batch.targets.flatten());
  const at::Tensor target = teacher_->log_probabilities(batch.inputs);
  return (target.exp() * (target - at::log_softmax(logits, -1))).sum(-1).mean();
}

std::map<std::string, double> TextTask::evaluate(const Graph& graph, const Observer* observer) {
  if (evaluation_.empty()) return {};
  at::NoGradGuard no_gradients;
  return {{"perplexity", measure_quality(graph, evaluation_, length_, length_, nullptr, observer).perplexity.value}};
}

}  // namespace espalier
