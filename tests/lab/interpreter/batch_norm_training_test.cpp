// Batch norm by the statistics of the batch: gradients by central differences in fp64, running statistics by hand.
#include <gtest/gtest.h>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "tests/structure/test_networks.h"

namespace espalier {
namespace {

struct Norm {
  test::Network network;
  std::vector<at::Tensor> leaves;  // x, weight, bias

  Norm() {
    network.input("x", {4, 3, 2, 2});
    network.output(network.batch_norm("x", 3));
    network.infer();
    const auto wave = [](at::IntArrayRef shape, double phase) {
      return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 2.4 + phase).view(shape);
    };
    leaves = {wave({4, 3, 2, 2}, 0.3), wave({3}, 1) + 1.5, wave({3}, 2)};
    for (auto& leaf : leaves) leaf.set_requires_grad(true);
  }

  at::Tensor run(at::Tensor mean, at::Tensor var, double momentum) {
    Weights weights(network.graph);
    weights.set("x.bn.scale.weight", leaves[1]);
    weights.set("x.bn.bias", leaves[2]);
    weights.set("x.bn.mean", mean);
    weights.set("x.bn.var.weight", var);
    Interpreter interpreter(network.graph, weights);
    interpreter.train_batch_norms(momentum);
    return interpreter.forward(leaves[0]);
  }
  at::Tensor value() {
    const at::Tensor y = run(at::zeros({3}, at::kDouble), at::ones({3}, at::kDouble), 0.1).reshape({-1});
    return (y * at::cos(at::arange(y.numel(), at::kDouble))).sum();
  }
};

TEST(BatchNormTraining, GradientsAreWhatDifferencesSay) {
  Norm norm;
  const auto gradients = torch::autograd::grad({norm.value()}, norm.leaves);
  constexpr double kStep = 1e-5;
  for (size_t l = 0; l < norm.leaves.size(); ++l) {
    double* elements = norm.leaves[l].data_ptr<double>();
    const at::Tensor gradient = gradients[l].contiguous();
    for (int64_t i = 0; i < gradient.numel(); ++i) {
      at::NoGradGuard guard;
      const double before = elements[i];
      elements[i] = before + kStep;
      const double above = norm.value().item<double>();
      elements[i] = before - kStep;
      const double below = norm.value().item<double>();
      elements[i] = before;
      EXPECT_NEAR(gradient.data_ptr<double>()[i], (above - below) / (2 * kStep), 1e-6) << l << " " << i;
    }
  }
}

TEST(BatchNormTraining, RunningStatisticsMoveInPlace) {
  Norm norm;
  at::NoGradGuard no_gradients;
  const at::Tensor mean = at::full({3}, 5, at::kDouble), var = at::full({3}, 7, at::kDouble);
  const at::Tensor y = norm.run(mean, var, 0.25);
  const at::Tensor rows = norm.leaves[0].transpose(0, 1).reshape({3, -1});
  EXPECT_TRUE(at::allclose(mean, 0.75 * 5 + 0.25 * rows.mean(1)));
  EXPECT_TRUE(at::allclose(var, 0.75 * 7 + 0.25 * rows.var(1, true)));
  const at::Tensor centred = (rows - rows.mean(1, true)) / at::sqrt(rows.var(1, false, true) + 1e-5);
  const at::Tensor expected = centred * norm.leaves[1].unsqueeze(1) + norm.leaves[2].unsqueeze(1);
  EXPECT_TRUE(at::allclose(y.transpose(0, 1).reshape({3, -1}), expected));
}

TEST(BatchNormTraining, InferenceIsTheSameWithAndWithoutGradientsOfTheStatistics) {
  Norm norm;
  Weights weights(norm.network.graph);
  const Interpreter interpreter(norm.network.graph, weights);
  const at::Tensor x = norm.leaves[0].detach().to(at::kFloat);
  const at::Tensor fast = interpreter.forward(x);
  weights.make_trainable();
  at::AutoGradMode with_gradients(true);
  const at::Tensor slow = interpreter.forward(x);
  EXPECT_TRUE(at::allclose(fast, slow, 1e-5, 1e-6));
  slow.sum().backward();
  EXPECT_TRUE(weights.get("x.bn.mean").grad().defined());
  EXPECT_TRUE(weights.get("x.bn.var.weight").grad().defined());
}

}  // namespace
}  // namespace espalier
