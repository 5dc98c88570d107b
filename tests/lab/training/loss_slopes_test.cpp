#include "espalier/lab/training/loss_slopes.h"

#include "espalier/graph/operator.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/sparse_cost.h"
#include "espalier/lab/training/trainer.h"
#include "espalier/lab/training/training_task.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier {
namespace {

// Half the mean of squares of what a single Linear layer puts out, in two batches: gradient X^T X w / n and Hessian X^T X / n
// by hand.
class Squares : public TrainingTask {
 public:
  Squares() {
    at::manual_seed(1);
    x_ = at::randn({2, 6, 4});
  }
  const at::Tensor& inputs() const { return x_; }
  int64_t batches_an_epoch() const override { return 2; }
  TrainingBatch batch(int64_t index, uint64_t) override { return {.inputs = x_[index % 2], .targets = at::zeros({6}, at::kLong)}; }
  at::Tensor loss(const Graph&, const at::Tensor& output, const TrainingBatch&) const override { return output.square().mean() / 2; }
  std::pair<int64_t, int64_t> hits(const at::Tensor&, const TrainingBatch&) const override { return {0, 0}; }
  std::map<std::string, double> evaluate(const Graph&, const Observer*) override { return {}; }
  std::string unit() const override { return "rows"; }

 private:
  at::Tensor x_;
};

Graph one_layer() {
  test::Network n;
  n.input("x", {6, 4});
  n.param("w", {1, 4});
  n.node("Linear", {"x"}, {"y"}, {{"weight", "w"}});
  n.output("y");
  n.infer();
  return std::move(n.graph);
}

at::Tensor hessian(const at::Tensor& x) { return x.t().mm(x) / static_cast<double>(x.size(0)); }

TEST(LossSlopes, AreMeansOverTheBatches) {
  Squares task;
  const Graph graph = one_layer();
  TrainOptions options;
  options.steps = 1;
  Training training(graph, task, options);
  const at::Tensor w = training.value("w").detach().flatten();
  at::Tensor gradient = at::zeros({4}), curvature = at::zeros({4});
  constexpr double kTemperature = 3;
  for (int64_t b = 0; b < 2; ++b) {
    const at::Tensor h = hessian(task.inputs()[b]), soft = h / (kTemperature * kTemperature);
    gradient += h.mv(w) / 2;
    curvature += soft.mv(soft.mv(w)) / 2;
  }
  const at::Tensor slopes = loss_gradients(training, {"w"}, 2).at(0).flatten(), curvatures = loss_curvatures(training, {"w"}, 2, kTemperature).at(0).flatten();
  EXPECT_LT((slopes - gradient).abs().max().item<float>(), 1e-5);
  EXPECT_LT((curvatures - curvature).abs().max().item<float>(), 1e-5);
  EXPECT_TRUE(at::equal(training.value("w").detach().flatten(), w));
  EXPECT_FALSE(training.gradient("w").defined());
}

TEST(SparseCost, IsTheMeanOfItsSteps) {
  Squares task;
  const Graph graph = one_layer();
  TrainOptions options;
  options.steps = 1;
  const Training training(graph, task, options);
  SparseCost cost(training, {"w"});
  EXPECT_EQ(cost.share(), 1);
  cost.set_masks({at::tensor({1, 0, 0, 0}, at::kInt).to(at::kBool).view({1, 4})});
  cost.add_step(false);
  EXPECT_DOUBLE_EQ(cost.share(), 0.25);
  cost.add_step(true);  // two sparse passes and a dense one: 0.5
  EXPECT_DOUBLE_EQ(cost.share(), 0.375);
  StateStore state;
  cost.save(state);
  SparseCost again(training, {"w"});
  again.load(state);
  EXPECT_DOUBLE_EQ(again.share(), 0.375);
}

}  // namespace
}  // namespace espalier
