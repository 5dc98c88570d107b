// Norms, as PyTorch, TensorFlow and hand-written models take them apart.
#include <algorithm>

#include "espalier/families/onnx/patterns_view.h"

namespace espalier {
namespace {

// The mean over the last dim, which stays with size 1: of what.
std::optional<ValueId> mean_of(const PatternView& view, ValueId value) {
  if (const Node* pool = view.maker(value, "GlobalAveragePool"); pool && view.shape(value).size() == 3)
    return pool->inputs[0];
  const Node* mean = view.maker(value, "ReduceMean");
  if (!mean || !mean->flag_or("keepdims", true)) return std::nullopt;
  const auto axes = mean->integers_or("axes", {});
  const int64_t rank = std::ssize(view.shape(mean->inputs[0]));
  if (axes.size() != 1 || (axes[0] != -1 && axes[0] != rank - 1)) return std::nullopt;
  return mean->inputs[0];
}

// x − mean(x): of which x.
std::optional<ValueId> centred(const PatternView& view, ValueId value) {
  const Node* difference = view.maker(value, "Sub");
  if (!difference) return std::nullopt;
  const auto from = mean_of(view, difference->inputs[1]);
  return from && *from == difference->inputs[0] ? from : std::nullopt;
}

std::optional<ValueId> square_of(const PatternView& view, ValueId value) {
  if (const Node* power = view.maker(value, "Pow"); power && view.is_scalar(power->inputs[1], 2))
    return power->inputs[0];
  const Node* product = view.maker(value, "Mul");
  return product && product->inputs[0] == product->inputs[1] ? std::optional(product->inputs[0]) : std::nullopt;
}

// sqrt(mean(y²) + epsilon): of which y.
struct Deviation {
  ValueId of;
  double epsilon;
};

std::optional<Deviation> variance(const PatternView& view, ValueId value) {
  Deviation deviation{-1, 0};
  const Node* sum = view.maker(value, "Add");
  const auto mean =
      sum ? view.other_operand(*sum, [&](ValueId v) { return view.scalar(v).has_value(); }) : std::nullopt;
  if (!mean) return std::nullopt;
  deviation.epsilon = *view.scalar(sum->inputs[0] == *mean ? sum->inputs[1] : sum->inputs[0]);
  const auto squares = mean_of(view, *mean);
  const auto of = squares ? square_of(view, *squares) : std::nullopt;
  if (!of) return std::nullopt;
  deviation.of = *of;
  return deviation;
}

std::optional<Deviation> deviation_of(const PatternView& view, ValueId value) {
  if (const Node* root = view.activation(value, "sqrt")) return variance(view, root->inputs[0]);
  const Node* power = view.maker(value, "Pow");
  return power && view.is_scalar(power->inputs[1], 0.5) ? variance(view, power->inputs[0]) : std::nullopt;
}

// 1 / deviation.
std::optional<Deviation> inverse_of(const PatternView& view, ValueId value) {
  if (const Node* inverse = view.activation(value, "reciprocal")) return deviation_of(view, inverse->inputs[0]);
  if (const Node* ratio = view.maker(value, "Div"); ratio && view.is_scalar(ratio->inputs[0], 1))
    return deviation_of(view, ratio->inputs[1]);
  const Node* power = view.maker(value, "Pow");
  return power && view.is_scalar(power->inputs[1], -0.5) ? variance(view, power->inputs[0]) : std::nullopt;
}

// y / sqrt(mean(y²) + epsilon) is an RMSNorm of y, or, where y is x − mean(x), a LayerNorm of x.
bool fuse_core(PatternView& view, size_t i) {
  const Node& node = view.node(i);
  std::optional<Deviation> deviation;
  ValueId of = -1;
  if (node.op == "Div" && node.inputs.size() == 2) {
    of = node.inputs[0];
    deviation = deviation_of(view, node.inputs[1]);
  } else if (node.op == "Mul") {
    for (size_t side = 0; side < 2 && !deviation; ++side) {
      of = node.inputs[1 - side];
      deviation = inverse_of(view, node.inputs[side]);
    }
  }
  if (!deviation || view.shape(of).empty()) return false;
  const auto x = centred(view, of), also = centred(view, deviation->of);
  const bool layer = x && also && *x == *also;
  if (!layer && deviation->of != of) return false;
  view.replace(i, {layer ? "LayerNorm" : "RMSNorm", "", {layer ? *x : of}, {}, {}, {{"epsilon", deviation->epsilon}}});
  return true;
}

// −mean(x): of which x.
std::optional<ValueId> negative_mean(const PatternView& view, ValueId value) {
  const Node* negative = view.activation(value, "neg");
  return negative ? mean_of(view, negative->inputs[0]) : std::nullopt;
}

// Keras: x · s + (bias − mean(x) · s), where s is weight / deviation.
bool fuse_spread_norm(PatternView& view, size_t i) {
  const Node& sum = view.node(i);
  for (size_t side = 0; side < 2; ++side) {
    const Node *scaled = view.maker(sum.inputs[side], "Mul"), *rest = view.maker(sum.inputs[1 - side], "Add");
    if (!scaled || !rest) continue;
    for (size_t at = 0; at < 4; ++at) {
      const ValueId x = scaled->inputs[at % 2], spread = scaled->inputs[1 - at % 2];
      const Node *shift = view.maker(rest->inputs[at / 2], "Mul"), *ratio = view.maker(spread, "Mul");
      if (!shift || !ratio) continue;
      const auto mean = view.other_operand(*shift, [&](ValueId v) { return v == spread; });
      const auto of = mean ? negative_mean(view, *mean) : std::nullopt;
      if (!of || *of != x || view.shape(x).empty() || view.shape(sum.outputs[0]) != view.shape(x)) continue;
      const Shape& shape = view.shape(x);
      for (size_t part = 0; part < 2; ++part) {
        const auto deviation = inverse_of(view, ratio->inputs[part]);
        const auto centre = deviation ? centred(view, deviation->of) : std::nullopt;
        if (!centre || *centre != x) continue;
        const auto vector = [&](ValueId v) { return view.channel_parameter(v, shape.size() - 1, shape.size(), shape.back()); };
        const std::string weight = vector(ratio->inputs[1 - part]), bias = vector(rest->inputs[1 - at / 2]);
        if (weight.empty() || bias.empty()) continue;
        view.replace(i, {"LayerNorm", "", {x}, {}, {{"weight", weight}, {"bias", bias}}, {{"epsilon", deviation->epsilon}}});
        return true;
      }
    }
  }
  return false;
}

bool holds_only(const Graph& graph, const Node& node, const char* role, float value) {
  if (!node.has_param(role)) return true;
  const auto numbers = graph.parameter_of(node, role).load().to_floats();
  return std::all_of(numbers.begin(), numbers.end(), [&](float number) { return number == value; });
}

// PyTorch writes a GroupNorm as an InstanceNorm of [n, groups, all the rest].
bool fuse_group_norm(PatternView& view, size_t i) {
  const Node& back = view.node(i);
  const Node* norm = back.op == "Reshape" ? view.maker(back.inputs[0], "InstanceNorm") : nullptr;
  const Node* apart = norm ? view.maker(norm->inputs[0], "Reshape") : nullptr;
  if (!apart) return false;
  const ValueId x = apart->inputs[0];
  const Shape &shape = view.shape(x), &grouped = view.shape(norm->inputs[0]);
  const bool fits = shape.size() >= 2 && view.shape(back.outputs[0]) == shape && grouped.size() == 3 &&
                    grouped[0] == shape[0] && grouped[1] > 0 && shape[1] % grouped[1] == 0;
  if (!fits || !holds_only(view.graph(), *norm, "weight", 1) || !holds_only(view.graph(), *norm, "bias", 0))
    return false;
  view.replace(i, {"GroupNorm", "", {x}, {}, {}, {{"epsilon", norm->real("epsilon")}, {"num_groups", grouped[1]}}});
  return true;
}

// The channel axis of a norm whose result nobody else reads.
std::optional<size_t> affine_axis(const PatternView& view, ValueId value) {
  const Node* norm = view.maker(value);
  if (!norm || view.reads(value) != 1) return std::nullopt;
  if (norm->op == "GroupNorm") return 1;
  const bool last = norm->op == "LayerNorm" || norm->op == "RMSNorm";
  return last && !norm->attributes.count("head_size") ? std::optional(view.shape(value).size() - 1) : std::nullopt;
}

// Multiplies or adds one number a channel: the norm's weight or bias.
bool fuse_affine(PatternView& view, size_t i, const char* role) {
  const Node& node = view.node(i);
  for (size_t side = 0; side < 2 && node.inputs.size() == 2; ++side) {
    const ValueId of = node.inputs[side];
    const auto axis = affine_axis(view, of);
    if (!axis || view.shape(node.outputs[0]) != view.shape(of)) continue;
    Node norm = *view.maker(of);
    const bool weight = std::string_view(role) == "weight";
    if (norm.has_param(role) || (weight && norm.has_param("bias")) || (!weight && norm.op == "RMSNorm")) continue;
    const Shape shape = view.shape(of);
    const std::string parameter = view.channel_parameter(node.inputs[1 - side], *axis, shape.size(), shape[*axis]);
    if (parameter.empty()) continue;
    norm.params[role] = parameter;
    view.replace(i, std::move(norm));
    return true;
  }
  return false;
}

}  // namespace

bool fuse_norm(PatternView& view, size_t i) {
  const std::string& op = view.node(i).op;
  if (op == "Reshape") return fuse_group_norm(view, i);
  if (op == "Mul") return fuse_core(view, i) || fuse_affine(view, i, "weight");
  if (op == "Add") return fuse_affine(view, i, "bias") || fuse_spread_norm(view, i);
  return op == "Div" && fuse_core(view, i);
}

}  // namespace espalier
