// Activations that are written as products: x · f(x), with constant factors in any order.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "espalier/families/onnx/patterns_view.h"

namespace espalier {
namespace {

constexpr double kTanhScale = 0.7978845608028654;  // sqrt(2 / π)
constexpr double kTanhCube = 0.044715;

bool close(double a, double b) { return std::fabs(a - b) <= 1e-4 * std::max(1.0, std::fabs(b)); }

// A product of values, those that come several times standing as often, and of constants.
struct Product {
  double constant = 1;
  std::vector<ValueId> factors;
};

// Takes apart what is itself a product, but for `whole`; no deeper than GELU needs.
void multiply(const PatternView& view, ValueId value, ValueId whole, int depth, Product& product) {
  if (const auto number = view.scalar(value)) {
    product.constant *= *number;
    return;
  }
  const Node* node = value == whole || depth == 0 ? nullptr : view.maker(value);
  if (node && node->op == "Mul") {
    for (ValueId input : node->inputs) multiply(view, input, whole, depth - 1, product);
  } else if (node && node->op == "Div" && view.scalar(node->inputs[1]).value_or(0) != 0) {
    product.constant /= *view.scalar(node->inputs[1]);
    multiply(view, node->inputs[0], whole, depth - 1, product);
  } else if (node && node->op == "Pow" && (view.is_scalar(node->inputs[1], 2) || view.is_scalar(node->inputs[1], 3))) {
    for (int i = view.is_scalar(node->inputs[1], 2) ? 2 : 3; i-- > 0;)
      multiply(view, node->inputs[0], whole, depth - 1, product);
  } else {
    product.factors.push_back(value);
  }
}

Product product_of(const PatternView& view, ValueId value, ValueId whole) {
  Product product;
  multiply(view, value, whole, 4, product);
  return product;
}

bool is_power(const Product& product, ValueId x, size_t exponent, double constant) {
  return close(product.constant, constant) && product.factors.size() == exponent &&
         std::count(product.factors.begin(), product.factors.end(), x) == std::ssize(product.factors);
}

// 1 + f: of which f.
std::optional<ValueId> one_plus(const PatternView& view, ValueId value) {
  const Node* sum = view.maker(value, "Add");
  return sum ? view.other_operand(*sum, [&](ValueId v) { return view.is_scalar(v, 1); }) : std::nullopt;
}

// x · constant: of which x.
std::optional<ValueId> scaled_value(const PatternView& view, ValueId value, double constant) {
  if (const Node* ratio = view.maker(value, "Div"); ratio && view.is_scalar(ratio->inputs[1], 1 / constant))
    return ratio->inputs[0];
  const Node* product = view.maker(value, "Mul");
  return product ? view.other_operand(*product, [&](ValueId v) { return view.is_scalar(v, constant); }) : std::nullopt;
}

// sqrt(2/π) · (x + 0.044715 x³), or with x outside of the brackets: of which x.
std::optional<ValueId> tanh_argument(const PatternView& view, ValueId value) {
  const Product outer = product_of(view, value, -1);
  if (!close(outer.constant, kTanhScale)) return std::nullopt;
  for (ValueId factor : outer.factors) {
    const Node* sum = view.maker(factor, "Add");
    if (!sum) continue;
    if (const auto rest = one_plus(view, factor)) {
      for (ValueId x : product_of(view, *rest, -1).factors) {
        const Product whole = product_of(view, value, x);
        const bool outside =
            whole.factors.size() == 2 && std::count(whole.factors.begin(), whole.factors.end(), x) == 1;
        if (outside && is_power(product_of(view, *rest, x), x, 2, kTanhCube)) return x;
      }
    }
    for (size_t side = 0; side < 2 && outer.factors.size() == 1; ++side) {
      const ValueId x = sum->inputs[side];
      if (is_power(product_of(view, sum->inputs[1 - side], x), x, 3, kTanhCube)) return x;
    }
  }
  return std::nullopt;
}

// What a factor f(x) of a product with x (and a constant) makes of the whole.
struct Candidate {
  ValueId x = -1;
  double constant = 1;
  std::string kind;
};

std::vector<Candidate> candidates(const PatternView& view, ValueId factor) {
  std::vector<Candidate> found;
  if (const auto f = one_plus(view, factor)) {
    if (const Node* erf = view.activation(*f, "erf"))
      if (const auto x = scaled_value(view, erf->inputs[0], std::numbers::sqrt2 / 2))
        found.push_back({*x, 0.5, "gelu"});
    if (const Node* tanh = view.activation(*f, "tanh"))
      if (const auto x = tanh_argument(view, tanh->inputs[0])) found.push_back({*x, 0.5, "gelu_tanh"});
  }
  if (const Node* sigmoid = view.activation(factor, "sigmoid")) {
    found.push_back({sigmoid->inputs[0], 1, "silu"});
    if (const auto x = scaled_value(view, sigmoid->inputs[0], 1.702)) found.push_back({*x, 1, "quick_gelu"});
  }
  if (const Node* hard = view.activation(factor, "hardsigmoid"))
    if (close(hard->real_or("alpha", 0.2), 1.0 / 6) && close(hard->real_or("beta", 0.5), 0.5))
      found.push_back({hard->inputs[0], 1, "hardswish"});
  if (const Node* clip = view.activation(factor, "clip"))
    if (clip->real_or("min", -1) == 0 && clip->real_or("max", -1) == 6)
      if (const Node* sum = view.maker(clip->inputs[0], "Add"))
        if (const auto x = view.other_operand(*sum, [&](ValueId v) { return view.is_scalar(v, 3); }))
          found.push_back({*x, 1.0 / 6, "hardswish"});
  if (const Node* tanh = view.activation(factor, "tanh"))
    if (const Node* soft = view.activation(tanh->inputs[0], "softplus")) found.push_back({soft->inputs[0], 1, "mish"});
  return found;
}

}  // namespace

bool fuse_activation(PatternView& view, size_t i) {
  const Node& root = view.node(i);
  if (root.op != "Mul" && root.op != "Div") return false;
  const ValueId whole = root.outputs[0];
  for (ValueId factor : product_of(view, whole, -1).factors) {
    for (const Candidate& candidate : candidates(view, factor)) {
      const Product product = product_of(view, whole, candidate.x);
      auto sorted = product.factors, expected = std::vector<ValueId>{candidate.x, factor};
      std::sort(sorted.begin(), sorted.end());
      std::sort(expected.begin(), expected.end());
      if (view.shape(candidate.x) != view.shape(whole)) continue;
      if (sorted == expected && close(product.constant, candidate.constant)) {
        view.replace(i, {"Activation", "", {candidate.x}, {}, {}, {{"kind", candidate.kind}}});
        return true;
      }
      if (candidate.kind == "hardswish" && sorted == std::vector<ValueId>{factor} && close(product.constant, 1.0 / 6) &&
          view.activation(factor, "clip")) {
        view.replace(i, {"Activation",
                         "",
                         {candidate.x},
                         {},
                         {},
                         {{"kind", std::string("hardsigmoid")}, {"alpha", 1.0 / 6}, {"beta", 0.5}}});
        return true;
      }
    }
  }
  return false;
}

}  // namespace espalier
