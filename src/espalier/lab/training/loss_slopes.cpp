#include "espalier/lab/training/loss_slopes.h"

#include "espalier/core/error.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/trainer.h"
#include "espalier/lab/training/training_task.h"

namespace espalier {
namespace {

// A copy of the network whose weights of the given names are leaves.
class Copy {
 public:
  Copy(Training& training, const std::vector<std::string>& names)
      : training_(training), graph_(training.result()), weights_(graph_), interpreter_(graph_, weights_) {
    for (const auto& parameter : graph_.parameters()) {
      const at::Tensor value = weights_.get(parameter->name());
      if (value.is_floating_point()) weights_.set(parameter->name(), value.detach().clone());
    }
    for (const auto& name : names) {
      leaves_.push_back(weights_.get(name).set_requires_grad(true));
      weights_.set(name, leaves_.back());
    }
    interpreter_.train_batch_norms(training.options().batch_momentum);
  }

  at::Tensor loss(int64_t batch, double temperature) {
    const TrainingBatch data = training_.task().batch(batch, training_.data_order());
    const at::Tensor output = interpreter_.forward(data.inputs) / temperature;
    const at::Tensor loss = training_.task().loss(graph_, output, data);
    if (!std::isfinite(loss.item<double>())) user_error("training: the loss is {} before the first step", loss.item<double>());
    return loss;
  }
  std::vector<at::Tensor> slopes(const at::Tensor& of, bool keep) const { return torch::autograd::grad({of}, leaves_, {}, keep, keep, /*allow_unused=*/true); }
  const LayerTensors& leaves() const { return leaves_; }

 private:
  Training& training_;
  Graph graph_;
  Weights weights_;
  Interpreter interpreter_;
  LayerTensors leaves_;
};

template <typename OfBatch>
LayerTensors mean(const Copy& copy, int64_t batches, OfBatch of_batch) {
  ESP_ASSERT(batches > 0);
  LayerTensors sums;
  for (const auto& leaf : copy.leaves()) sums.push_back(at::zeros_like(leaf.detach()));
  for (int64_t b = 0; b < batches; ++b) {
    const auto parts = of_batch(b);
    for (size_t l = 0; l < parts.size(); ++l)
      if (parts[l].defined()) sums[l].add_(parts[l].detach(), 1.0 / static_cast<double>(batches));
  }
  return sums;
}

}  // namespace

LayerTensors loss_gradients(Training& training, const std::vector<std::string>& names, int64_t batches) {
  at::AutoGradMode with_gradients(true);
  Copy copy(training, names);
  return mean(copy, batches, [&](int64_t b) { return copy.slopes(copy.loss(b, 1), false); });
}

LayerTensors loss_curvatures(Training& training, const std::vector<std::string>& names, int64_t batches, double temperature) {
  at::AutoGradMode with_gradients(true);
  Copy copy(training, names);
  return mean(copy, batches, [&](int64_t b) {
    const auto gradients = copy.slopes(copy.loss(b, temperature), true);
    at::Tensor product = at::zeros({});
    for (const auto& gradient : gradients)
      if (gradient.defined()) product = product + (gradient * gradient.detach()).sum();
    return copy.slopes(product, false);
  });
}

}  // namespace espalier
