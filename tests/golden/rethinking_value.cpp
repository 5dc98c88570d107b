#include "espalier/graph/operator.h"
#include "espalier/lab/allocation/global_magnitude.h"
#include "espalier/lab/criteria/norm_scales.h"
#include "espalier/lab/methods/training/rethinking_value.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_weights.h"
#include "espalier/structure/surgery.h"
#include "runner.h"

namespace espalier::golden::rethinking_value_cases {
namespace {

std::vector<std::vector<int64_t>> rows_of(const at::Tensor& table) {
  std::vector<std::vector<int64_t>> rows;
  const at::Tensor list = table.to(at::kLong).contiguous();
  for (int64_t r = 0; r < list.size(0); ++r) rows.emplace_back(list[r].data_ptr<int64_t>(), list[r].data_ptr<int64_t>() + list.size(1));
  return rows;
}

std::vector<int64_t> integers_of(const at::Tensor& values) {
  const at::Tensor list = values.to(at::kLong).contiguous();
  return {list.data_ptr<int64_t>(), list.data_ptr<int64_t>() + list.numel()};
}

// The layers side by side, each with an input of its own, at shapes that give the stated output sizes.
class Layers {
 public:
  void conv(const std::vector<int64_t>& row) {
    const auto [in, out, kernel, size, groups] = std::tuple(row[0], row[1], row[2], row[3], row[4]);
    const std::vector<int64_t> pads = {(kernel - 1) / 2, (kernel - 1) / 2, kernel / 2, kernel / 2};
    add("Conv", {1, in, size, size}, {out, in / groups, kernel, kernel}, {{"pads", pads}, {"group", groups}});
  }
  void linear(const std::vector<int64_t>& row) { add("Linear", {1, row[0]}, {row[1], row[0]}, {}); }
  int64_t multiply_adds() {
    infer_shapes(graph_, inputs_);
    return layer_multiply_adds(graph_);
  }

 private:
  void add(const std::string& op, const Shape& input, const Shape& weight, std::map<std::string, Attribute> attributes) {
    const std::string name = fmt::format("layer{}", graph_.nodes.size());
    graph_.add_parameter(name + ".weight", Tensor(DType::kF32, weight));
    const ValueId x = graph_.add_value(name + ".in"), y = graph_.add_value(name + ".out");
    graph_.inputs.push_back(x);
    graph_.outputs.push_back(y);
    inputs_.push_back(input);
    Node node{op, name, {x}, {y}, {{"weight", name + ".weight"}}, std::move(attributes)};
    graph_.add_node(std::move(node));
  }
  Graph graph_;
  std::vector<Shape> inputs_;
};

int64_t macs_of(const at::Tensor& convs, const at::Tensor& linears) {
  Layers layers;
  for (const auto& row : rows_of(convs)) layers.conv(row);
  for (const auto& row : rows_of(linears)) layers.linear(row);
  return layers.multiply_adds();
}

Tensors budgets(const Case& c) {
  const int64_t epochs = c.integer("dense_epochs");
  const int64_t dense = macs_of(c.input("dense_convs"), c.input("dense_fc")), pruned = macs_of(c.input("pruned_convs"), c.input("pruned_fc"));
  const int64_t longer = scratch_b_epochs(epochs, dense, pruned);
  return {{"dense_macs", scalar(dense)},
          {"pruned_macs", scalar(pruned)},
          {"flops_ratio", scalar(static_cast<double>(pruned) / static_cast<double>(dense))},
          {"scratch_e_epochs", scalar(epochs)},
          {"scratch_b_epochs", scalar(longer)},
          {"scratch_b_capped2x", scalar(scratch_b_epochs(epochs, dense, pruned, 2.0))},
          {"lr_drop_epochs", at::tensor(drop_epochs(longer), at::kLong)}};
}

Tensors l1_filters(const Case& c) {
  const at::Tensor weight = c.input("W").to(at::kDouble);
  return {{"score", filter_l1(weight)}, {"kept", at::tensor(highest_l1_filters(weight, c.integer("keep")), at::kLong)}};
}

// The convolution, its norm and the next convolution as a network of their own, cut by its coupling.
Tensors surgery(const Case& c) {
  Graph graph;
  const auto parameter = [&](const char* name) { graph.add_parameter(name, from_torch(c.floats(name), DType::kF32)); };
  for (const char* name : {"W", "bn_weight", "bn_bias", "bn_mean", "bn_var", "W_next"}) parameter(name);
  const ValueId x = graph.add_value("x"), y = graph.add_value("y"), normal = graph.add_value("normal"), z = graph.add_value("z");
  const std::vector<int64_t> pads(4, c.input("W").size(2) / 2);
  graph.add_node({"Conv", "conv", {x}, {y}, {{"weight", "W"}}, {{"pads", pads}}});
  graph.add_node({"BatchNorm", "norm", {y}, {normal}, {{"weight", "bn_weight"}, {"bias", "bn_bias"}, {"mean", "bn_mean"}, {"var", "bn_var"}}, {{"epsilon", 1e-5}}});
  graph.add_node({"Conv", "next", {normal}, {z}, {{"weight", "W_next"}}, {{"pads", pads}}});
  graph.inputs = {x};
  graph.outputs = {z};
  infer_shapes(graph, {{1, c.input("W").size(1), 8, 8}});
  const Coupling coupling = find_coupling(graph);
  for (const auto& group : coupling.groups)
    if (group.members.front().param == "W") cut(graph, coupling, group.id, integers_of(c.input("kept")));
  Tensors outputs;
  for (const auto& stored : graph.parameters()) outputs[stored->name()] = to_torch(stored->load());
  return outputs;
}

std::vector<at::Tensor> numbered(const Case& c, const std::string& prefix) {
  std::vector<at::Tensor> list;
  while (c.has_input(fmt::format("{}{}", prefix, list.size()))) list.push_back(c.floats(fmt::format("{}{}", prefix, list.size())));
  return list;
}

Tensors slimming(const Case& c) {
  const auto gammas = numbered(c, "gamma");
  const SlimmingCut cut = slimming_cut(gammas, c.number("percent"));
  Tensors outputs;
  std::vector<int64_t> widths;
  for (size_t i = 0; i < gammas.size(); ++i) {
    outputs[fmt::format("keep{}", i)] = cut.keep[i];
    outputs[fmt::format("l1_subgradient{}", i)] = penalty_gradient(gammas[i], ScalePenalty::kL1, 1e-4, 0);
    widths.push_back(cut.keep[i].sum().item<int64_t>());
  }
  outputs["widths"] = at::tensor(widths, at::kLong);
  return outputs;
}

Tensors single_weights(const Case& c) {
  const auto weights = numbered(c, "W");
  std::vector<LayerWeights> layers;
  for (const auto& w : weights) layers.push_back({fmt::format("W{}", layers.size()), w.numel(), [w] { return w; }});
  const GlobalCut cut = global_magnitude(layers, c.number("percent"));
  Tensors outputs{{"removed", scalar(cut.removed)}};
  for (size_t i = 0; i < weights.size(); ++i) outputs[fmt::format("M{}", i)] = magnitude_cut_mask(weights[i], cut.cuts[i]);
  return outputs;
}

Tensors initialisation(const Case& c) {
  const at::Tensor normal = c.input("normal").to(at::kDouble);
  return {{"he_fan_in", normal * he_deviation(c.number("fan_in"))}, {"he_fan_out", normal * he_deviation(c.number("fan_out"))}};
}

Tensors guided(const Case& c) {
  const auto stages = c.params.at("stages").get<std::vector<std::vector<int64_t>>>();
  const auto found = guided_densities(stages, integers_of(c.input("n")), integers_of(c.input("kept")));
  return {{"stage_density", at::tensor(found.stage, at::kDouble)},
          {"layer_density", at::tensor(found.layer, at::kDouble)},
          {"uniform_density", scalar(found.uniform)}};
}

Tensors verdict(const Case& c) {
  const auto of = [&](const char* name) {
    const at::Tensor values = c.input(name).to(at::kDouble).contiguous();
    return std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
  };
  const ControlVerdict v = control_verdict(of("scratch"), of("finetune"), c.number_or("margin", 0.2));
  return {{"mean", at::tensor({v.scratch_mean, v.finetune_mean}, at::kDouble)},
          {"std", at::tensor({v.scratch_std, v.finetune_std}, at::kDouble)},
          {"difference", scalar(v.difference)},
          {"welch_se", scalar(v.standard_error)}};
}

const Register kRegister("16-rethinking-value", {{"budgets", budgets},
                                                 {"l1_filters", l1_filters},
                                                 {"surgery", surgery},
                                                 {"slimming_global_gamma", slimming},
                                                 {"weight_level_conv_only", single_weights},
                                                 {"scratch_init", initialisation},
                                                 {"guided_pruning_stage_average", guided},
                                                 {"verdict", verdict}});

}  // namespace
}  // namespace espalier::golden::rethinking_value_cases
