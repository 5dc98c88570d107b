#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/criteria/alive_ranking.h"
#include "espalier/lab/measure/weight_distance.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/trainer.h"
#include "espalier/lab/training/training_task.h"
#include "runner.h"

namespace espalier::golden::imp_rewind_cases {
namespace {

// Removes the share of what is alive; returns how many.
int64_t prune(const LayerTensors& weights, const LayerTensors& masks, double share, const std::string& where) {
  LayerTensors magnitudes;
  for (const auto& weight : weights) magnitudes.push_back(weight.abs());
  const int64_t removed = share_of(share, alive_count(masks));
  remove_lowest(magnitudes, masks, removed, where);
  return removed;
}

Tensors two_rounds(const Case& c) {
  LayerTensors masks;
  for (const char* name : {"W0_round1", "W1_round1"}) masks.push_back(at::ones(c.input(name).sizes(), at::kBool));
  Tensors outputs;
  std::vector<int64_t> removed, remaining;
  for (const char* round : {"1", "2"}) {
    const std::string suffix = std::string("_round") + round;
    removed.push_back(prune({c.input("W0" + suffix), c.input("W1" + suffix)}, masks, c.number("fraction"), c.name));
    remaining.push_back(alive_count(masks));
    for (size_t l = 0; l < masks.size(); ++l) outputs[fmt::format("M{}{}", l, suffix)] = masks[l].clone();
  }
  outputs["removed"] = at::tensor(removed, at::kLong);
  outputs["remaining"] = at::tensor(remaining, at::kLong);
  return outputs;
}

Tensors one_round(const Case& c) {
  const at::Tensor mask = c.input("mask_in").clone();
  const int64_t removed = prune({c.input("W")}, {mask}, c.number("fraction"), c.name);
  return {{"mask_out", mask}, {"removed", scalar(removed)}};
}

Tensors remaining_schedule(const Case& c) {
  std::vector<int64_t> remaining;
  std::vector<double> ideal;
  int64_t left = c.integer("start");
  for (int64_t round = 0; round < c.input("round").numel(); ++round) {
    remaining.push_back(left);
    ideal.push_back(std::pow(1 - c.number("fraction"), static_cast<double>(round)));
    left -= share_of(c.number("fraction"), left);
  }
  return {{"remaining", at::tensor(remaining, at::kLong)}, {"remaining_fraction_ideal", at::tensor(ideal, at::kDouble)}};
}

// Logistic regression by plain descent on the mean gradient, the weights masked before the first and after every step.
at::Tensor descend(const at::Tensor& x, const at::Tensor& y, at::Tensor w, const at::Tensor& mask, int64_t steps, double rate) {
  w = w * mask;
  for (int64_t step = 0; step < steps; ++step) {
    const at::Tensor gradient = x.t().mv(at::sigmoid(x.mv(w)) - y) / static_cast<double>(x.size(0));
    w = (w - rate * gradient) * mask;
  }
  return w;
}

// The same model and loss for the trainer: all rows in every batch.
class Rows : public TrainingTask {
 public:
  Rows(at::Tensor x, at::Tensor y) : x_(std::move(x)), y_(std::move(y)) {}
  int64_t batches_an_epoch() const override { return 1; }
  TrainingBatch batch(int64_t, uint64_t) override { return {.inputs = x_, .targets = y_.to(at::kLong)}; }
  at::Tensor loss(const Graph&, const at::Tensor& output, const TrainingBatch& batch) const override {
    return at::binary_cross_entropy_with_logits(output.squeeze(1), batch.targets.to(at::kFloat));
  }
  std::pair<int64_t, int64_t> hits(const at::Tensor&, const TrainingBatch&) const override { return {0, 0}; }
  std::map<std::string, double> evaluate(const Graph&, const Observer*) override { return {}; }
  std::string unit() const override { return "rows"; }

 private:
  at::Tensor x_, y_;
};

struct Regression {
  const Case& c;
  Model model;
  Rows task;
  TrainOptions options;
  std::map<std::string, at::Tensor> masks;

  explicit Regression(const Case& given) : c(given), task(c.floats("X"), c.floats("y")) {
    const at::Tensor initial = c.floats("w_init");
    Graph& graph = model.graph;
    Node layer;
    layer.op = "Linear";
    layer.name = "layer";
    layer.inputs = graph.inputs = {graph.add_value("rows")};
    layer.outputs = graph.outputs = {graph.add_value("logits")};
    layer.params = {{"weight", "w"}};
    graph.add_parameter("w", from_torch(initial.view({1, -1}), DType::kF32));
    graph.add_node(std::move(layer));
    infer_shapes(graph, {{1, initial.numel()}});
    options.steps = c.integer("steps");
    options.learning_rate = c.number("lr");
    options.momentum = 0;
    options.schedule = RateSchedule::kConstant;
    options.evaluate_every = 0;
  }
  at::Tensor weights() const { return to_torch(model.graph.parameter("w").load()).flatten(); }

  // One round of the method, rewound to a step; what it found.
  Json prune(int64_t rewind) {
    Plugins plugins;
    plugins.push_back(make_plugin("18-imp-rewind",
                                  {{"rewind", fmt::format("{}", rewind)}, {"rounds", "1"}, {"prune_fraction", fmt::format("{}", c.number("fraction"))}, {"controls", "rewind0"}},
                                  std::nullopt, model, options, options.steps, 1));
    masks = train(model.graph, task, options, plugins).masks;
    return plugins[0]->findings();
  }
  at::Tensor after(int64_t steps) {
    options.steps = steps;
    Plugins none;
    train(model.graph, task, options, none);
    return weights();
  }
};

double found(const Json& findings, const std::string& arm, const std::string& value) {
  for (const Json& row : findings.at("rounds"))
    if (row.at("arm") == arm && row.contains(value)) return row.at(value).get<double>();
  user_error("18-imp-rewind: no {} of {}", value, arm);
}

Tensors rewinding(const Case& c) {
  Regression ticket(c), original(c);
  const int64_t rewind = c.integer("rewind");
  const Json findings = ticket.prune(rewind);
  original.prune(0);
  return {{"w_final_dense", Regression(c).after(c.integer("steps"))},
          {"w_rewind", Regression(c).after(rewind)},
          {"mask", ticket.masks.at("w").flatten()},
          {"w_sub_final", ticket.weights()},
          {"w_sub0_final", original.weights()},
          {"l2_pruning_stability", scalar(found(findings, "rewind", "pruning_l2"))},
          {"l2_pruning_stability_rewind0", scalar(found(findings, "rewind0", "pruning_l2"))},
          {"angle_deg_from_rewind", scalar(found(findings, "rewind", "pruning_angle"))}};
}

Tensors two_orders(const Case& c) {
  const at::Tensor mask = c.input("mask"), start = c.input("w_rewind") * mask;
  const auto on = [&](const char* rows) {
    return descend(c.input("X").index_select(0, c.input(rows)), c.input("y").index_select(0, c.input(rows)), start, mask,
                   c.integer("steps") - c.integer("rewind"), c.number("lr"));
  };
  const at::Tensor a = on("rows_a"), b = on("rows_b");
  return {{"w_a", a}, {"w_b", b}, {"l2", scalar(l2_distance({a}, {b}))}, {"angle_deg", scalar(angle_between({a}, {b}, {start}))}};
}

const Register kRegister("18-imp-rewind", {{"two_rounds", two_rounds},
                                           {"ties_and_alive_zeros", one_round},
                                           {"one_alive", one_round},
                                           {"remaining_schedule", remaining_schedule},
                                           {"rewind_and_pruning_stability", rewinding},
                                           {"data_order_stability", two_orders}});

}  // namespace
}  // namespace espalier::golden::imp_rewind_cases
