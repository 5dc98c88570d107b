#include "espalier/lab/training/small_networks.h"

#include "espalier/graph/operator.h"
#include "espalier/lab/training/fresh_weights.h"

namespace espalier {
namespace {

constexpr int64_t kSide = 28, kClasses = 10;

// A chain of layers, each named like what it puts out.
class Chain {
 public:
  Chain() : at_(graph_.add_value("pictures")) { graph_.inputs = {at_}; }

  void conv(const std::string& name, Shape weight, int64_t stride) {
    const int64_t pad = weight[2] / 2;
    const std::vector<int64_t> strides{stride, stride}, pads{pad, pad, pad, pad};
    add(name, "Conv", {{"weight", parameter(name + ".weight", std::move(weight))}}, {{"group", int64_t{1}}, {"strides", strides}, {"pads", pads}});
  }
  void batch_norm(const std::string& name, int64_t channels) {
    std::map<std::string, std::string> params;
    for (const auto& [role, suffix] : {std::pair{"weight", ".weight"}, {"bias", ".bias"}, {"mean", ".running_mean"}, {"var", ".running_var"}})
      params[role] = parameter(name + suffix, {channels});
    add(name, "BatchNorm", std::move(params), {{"epsilon", 1e-5}});
  }
  void linear(const std::string& name, int64_t inputs, int64_t outputs) {
    add(name, "Linear", {{"weight", parameter(name + ".weight", {outputs, inputs})}, {"bias", parameter(name + ".bias", {outputs})}});
  }
  void relu(const std::string& name) { add(name, "Activation", {}, {{"kind", std::string("relu")}}); }
  void flatten() { add("flatten", "Flatten"); }

  Model finish(uint64_t seed) {
    graph_.outputs = {at_};
    infer_shapes(graph_, {{1, 1, kSide, kSide}});
    initialise_weights(graph_, seed);
    Model model;
    model.graph = std::move(graph_);
    model.task = Task::kImages;
    model.classes = kClasses;
    model.image = {.channels = 1, .height = kSide, .width = kSide, .mean = {0.286}, .std = {0.353}};  // of Fashion-MNIST
    model.example_inputs = {{1, 1, kSide, kSide}};
    model.input_dtypes = {DType::kF32};
    return model;
  }

 private:
  std::string parameter(const std::string& name, Shape shape) {
    graph_.add_parameter(name, Tensor(DType::kF32, std::move(shape)));
    return name;
  }
  void add(const std::string& name, const std::string& op, std::map<std::string, std::string> params = {}, std::map<std::string, Attribute> attributes = {}) {
    Node node;
    node.op = op;
    node.name = name;
    node.inputs = {at_};
    at_ = graph_.add_value(name);
    node.outputs = {at_};
    node.params = std::move(params);
    node.attributes = std::move(attributes);
    graph_.add_node(std::move(node));
  }

  Graph graph_;
  ValueId at_;
};

}  // namespace

Model small_convnet(uint64_t seed) {
  constexpr int64_t kWidths[] = {1, 12, 24, 32};
  constexpr int64_t kLast = kSide / 4, kHidden = 64;  // two of the convolutions halve the side
  Chain chain;
  for (int i = 1; i <= 3; ++i) {
    const int64_t kernel = i == 1 ? 5 : 3;
    chain.conv("conv" + std::to_string(i), {kWidths[i], kWidths[i - 1], kernel, kernel}, i < 3 ? 2 : 1);
    chain.batch_norm("norm" + std::to_string(i), kWidths[i]);
    chain.relu("relu" + std::to_string(i));
  }
  chain.flatten();
  chain.linear("hidden", kWidths[3] * kLast * kLast, kHidden);
  chain.relu("relu4");
  chain.linear("classes", kHidden, kClasses);
  return chain.finish(seed);
}

Model small_mlp(const std::vector<int64_t>& hidden, uint64_t seed) {
  Chain chain;
  chain.flatten();
  int64_t width = kSide * kSide;
  for (size_t i = 0; i < hidden.size(); ++i) {
    chain.linear("hidden" + std::to_string(i + 1), width, hidden[i]);
    chain.relu("relu" + std::to_string(i + 1));
    width = hidden[i];
  }
  chain.linear("classes", width, kClasses);
  return chain.finish(seed);
}

}  // namespace espalier
