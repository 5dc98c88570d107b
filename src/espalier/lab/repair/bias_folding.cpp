#include "espalier/lab/repair/bias_folding.h"

#include <algorithm>
#include <optional>
#include <set>

#include "espalier/lab/allocation/channel_classes.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

struct Constants {
  at::Tensor value, known;  // of each channel: what it is, 0 where nothing is known; bool
};

Constants constants_of(const at::Tensor& value, const at::Tensor& known) { return {value * known, known}; }

class Folding {
 public:
  Folding(Graph& graph, const std::map<std::string, at::Tensor>& removed) : graph_(graph), removed_(removed) {}

  void run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (auto found = behind(static_cast<NodeId>(n), node)) constants_[node.outputs[0]] = std::move(*found);
    }
  }

 private:
  at::Tensor parameter(const Node& node, const std::string& role) const { return to_torch(graph_.parameter_of(node, role).load()); }

  void add(const Node& node, const std::string& role, const at::Tensor& what) {
    Parameter& parameter = graph_.parameter_of(node, role);
    parameter.assign(from_torch(to_torch(parameter.load()) + what, parameter.dtype()));
  }

  const Constants* reaching(const Node& node, size_t input = 0) const {
    const auto found = input < node.inputs.size() ? constants_.find(node.inputs[input]) : constants_.end();
    return found == constants_.end() ? nullptr : &found->second;
  }

  std::optional<Constants> behind(NodeId n, const Node& node) {
    static const std::set<std::string> kPassing{"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Dropout", "Resize"};
    if (const auto gone = removed_.find(node.name); gone != removed_.end()) return behind_norm(n, node, gone->second);
    if (node.op == "Concat") return behind_concat(node);
    const Constants* input = reaching(node);
    if (!input) return std::nullopt;
    if (kPassing.count(node.op)) return *input;
    if (node.op == "Activation") return constants_of(through(n, *input), input->known);
    if (node.op == "Flatten") return flattened(node, *input);
    if (node.op == "Add") return sum(node, *input);
    if (node.op == "Conv" || node.op == "Linear") return behind_layer(node, *input);
    return std::nullopt;
  }

  // The node's own arithmetic on the constants.
  at::Tensor through(NodeId n, const Constants& input) {
    Weights weights(graph_);
    Environment values{{graph_.nodes[static_cast<size_t>(n)].inputs[0], input.value.view({1, -1, 1, 1})}};
    Interpreter(graph_, weights).run(values, n, n + 1);
    return values.at(graph_.nodes[static_cast<size_t>(n)].outputs[0]).flatten();
  }

  // A depthwise layer before it may give constants, which its scale then counts for.
  Constants behind_norm(NodeId n, const Node& node, const at::Tensor& gone) {
    const at::Tensor bias = node.has_param("bias") ? parameter(node, "bias") : at::zeros(gone.sizes());
    const Constants* input = reaching(node);
    return constants_of(input ? at::where(input->known, through(n, *input), bias) : bias, gone);
  }

  std::optional<Constants> behind_concat(const Node& node) const {
    const int64_t axis = node.integer_or("axis", 0);
    std::vector<at::Tensor> value, known;
    bool any = false;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Shape& shape = graph_.values[static_cast<size_t>(node.inputs[i])].shape;
      if (axis != 1 || shape.size() < 2) return std::nullopt;
      const Constants* input = reaching(node, i);
      any = any || input;
      value.push_back(input ? input->value : at::zeros({shape[1]}));
      known.push_back(input ? input->known : at::zeros({shape[1]}, at::kBool));
    }
    return any ? std::optional(Constants{at::cat(value), at::cat(known)}) : std::nullopt;
  }

  std::optional<Constants> flattened(const Node& node, const Constants& input) const {
    const Shape& shape = graph_.values[static_cast<size_t>(node.inputs[0])].shape;
    if (shape.size() != 4 || node.integer_or("axis", 1) != 1) return std::nullopt;
    const int64_t positions = shape[2] * shape[3];
    return Constants{input.value.repeat_interleave(positions), input.known.repeat_interleave(positions)};
  }

  std::optional<Constants> sum(const Node& node, const Constants& input) const {
    const Constants* other = reaching(node, 1);
    if (!other || other->value.numel() != input.value.numel()) return std::nullopt;
    return constants_of(input.value + other->value, input.known.logical_and(other->known));
  }

  // What the layer makes of the constants, without its bias.
  at::Tensor response(const Node& node, const at::Tensor& value) const {
    at::Tensor weight = parameter(node, "weight");
    if (node.op == "Linear") return at::matmul(node.flag_or("transposed", false) ? weight.t() : weight, value);
    std::vector<int64_t> window = weight.sizes().vec(), ones(window.size() - 2, 1);
    window[0] = 1, window[1] = value.numel();
    std::vector<int64_t> spread(window.size(), 1);
    spread[1] = -1;
    const std::vector<int64_t> none(ones.size(), 0);
    return at::convolution(value.view(spread).expand(window), weight, {}, ones, none, ones, false, none, node.integer_or("group", 1)).flatten();
  }

  std::optional<Constants> behind_layer(const Node& node, const Constants& input) {
    const at::Tensor given = response(node, input.value);
    if (is_depthwise(graph_, node)) {
      const at::Tensor known = input.known.repeat_interleave(given.numel() / input.known.numel());
      return constants_of(node.has_param("bias") ? given + parameter(node, "bias") : given, known);
    }
    const auto readers = graph_.consumers(node.outputs[0]);
    const Node* norm = readers.size() == 1 ? &graph_.nodes[static_cast<size_t>(readers[0])] : nullptr;
    if (node.has_param("bias")) {
      add(node, "bias", given);
    } else if (norm && norm->op == "BatchNorm" && norm->has_param("mean")) {
      add(*norm, "mean", -given);
    }
    return std::nullopt;
  }

  Graph& graph_;
  const std::map<std::string, at::Tensor>& removed_;
  std::map<ValueId, Constants> constants_;
};

}  // namespace

void fold_removed_biases(Graph& graph, const std::map<std::string, at::Tensor>& removed) {
  at::NoGradGuard no_gradients;
  Folding(graph, removed).run();
}

}  // namespace espalier
