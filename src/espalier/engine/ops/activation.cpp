// Activation: elementwise functions of one input (graph/ops/activation_kinds.h), through oneDNN where it knows them.
// Integers stay integers where the function maps integers to integers.
#include <cmath>
#include <map>

#include "espalier/core/error.h"
#include "espalier/engine/ops/broadcast.h"
#include "espalier/engine/ops/dnnl_tools.h"

namespace espalier {
namespace {

using Function = std::function<float(float)>;

Function with_alpha(const Node& node, double otherwise, float (*function)(float, float)) {
  return
      [function, alpha = static_cast<float>(node.real_or("alpha", otherwise))](float x) { return function(x, alpha); };
}

Function hard_sigmoid(const Node& node) {
  const auto alpha = static_cast<float>(node.real_or("alpha", 0.2)),
             beta = static_cast<float>(node.real_or("beta", 0.5));
  return [alpha, beta](float x) { return std::clamp(x * alpha + beta, 0.0f, 1.0f); };
}

float selu(float x) {
  constexpr float kScale = 1.0507009873554805f, kAlpha = 1.6732632423543772f;
  return kScale * (x > 0 ? x : kAlpha * std::expm1(x));
}
float softplus(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }

// What oneDNN does not do.
Function function_of(const Node& node) {
  static const std::map<std::string, float (*)(float)> plain{
      {"selu", selu},
      {"softplus", softplus},
      {"softsign", [](float x) { return x / (1 + std::abs(x)); }},
      {"mish", [](float x) { return x * std::tanh(softplus(x)); }},
      {"erf", [](float x) { return std::erf(x); }},
      {"sqrt", [](float x) { return std::sqrt(x); }},
      {"reciprocal", [](float x) { return 1 / x; }},
      {"log", [](float x) { return std::log(x); }},
      {"neg", [](float x) { return -x; }},
      {"sign", [](float x) { return x > 0   ? 1.0f
                                    : x < 0 ? -1.0f
                                            : 0.0f; }},
      {"floor", [](float x) { return std::floor(x); }},
      {"ceil", [](float x) { return std::ceil(x); }},
      {"round", [](float x) { return std::nearbyint(x); }},
      {"sin", [](float x) { return std::sin(x); }},
      {"cos", [](float x) { return std::cos(x); }}};
  const std::string kind = node.text("kind");
  if (kind == "celu")
    return with_alpha(node, 1,
                      [](float x, float a) { return std::max(0.0f, x) + std::min(0.0f, a * std::expm1(x / a)); });
  if (kind == "hardsigmoid") return hard_sigmoid(node);
  const auto found = plain.find(kind);
  ESP_ASSERT(found != plain.end(), "activation {}", kind);
  return found->second;
}

using IntegerFunction = int64_t (*)(int64_t);

IntegerFunction integer_function(const std::string& kind) {
  static const std::map<std::string, IntegerFunction> table{
      {"relu", [](int64_t x) { return std::max<int64_t>(0, x); }},
      {"abs", [](int64_t x) { return x < 0 ? -x : x; }},
      {"neg", [](int64_t x) { return -x; }},
      {"sign", [](int64_t x) { return static_cast<int64_t>(x > 0) - static_cast<int64_t>(x < 0); }},
      {"floor", [](int64_t x) { return x; }},
      {"ceil", [](int64_t x) { return x; }},
      {"round", [](int64_t x) { return x; }}};
  const auto found = table.find(kind);
  return found == table.end() ? nullptr : found->second;
}

template <typename From, typename To, typename Fn>
void map_elements(Lowering& l, const View& x, DType to, const Fn& fn) {
  const View y = elementwise_output(l, to, x.shape, {x});
  l.step({x}, {y}, [fn, count = x.count()](const StepPointers& p) {
    const From* from = p.input<From>(0);
    To* target = p.output<To>(0);
    parallel_parts(count, count * 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) target[i] = static_cast<To>(fn(from[i]));
    });
  });
  l.set_output(0, y);
}

void through_dnnl(Lowering& l, const View& x, const Eltwise& eltwise) {
  const View y = elementwise_output(l, DType::kF32, x.shape, {x});
  l.set_output(0, y);
  if (x.count() == 0) return;
  const auto flat = dnnl_desc({x.count()}, {1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::eltwise_forward::primitive_desc chosen(
      {dnnl::prop_kind::forward_inference, eltwise.algorithm, flat, eltwise.alpha, eltwise.beta}, attributes,
      dnnl_cpu());
  add_primitive(l, {dnnl::eltwise_forward(chosen),
                    chosen.scratchpad_desc(),
                    {{DNNL_ARG_SRC, x, flat}},
                    {{DNNL_ARG_DST, y, flat}},
                    {}});
}

void through_vector_kernel(Lowering& l, const View& x, VectorActivation kernel) {
  const View y = elementwise_output(l, DType::kF32, x.shape, {x});
  l.step({x}, {y}, [kernel, count = x.count()](const StepPointers& p) {
    parallel_parts(count, count * 4, [&](int64_t begin, int64_t end) {
      kernel(p.input<float>(0) + begin, end - begin, p.output<float>(0) + begin);
    });
  });
  l.set_output(0, y);
}

void lower(Lowering& l) {
  const View x = l.dense(l.input(0));
  const std::string kind = l.node().text("kind");
  if (kind == "not") {
    const View truth = l.as_type(x, DType::kBool);
    return map_elements<uint8_t, uint8_t>(l, truth, DType::kBool, [](uint8_t b) { return b == 0; });
  }
  if (x.dtype == DType::kI64 && integer_function(kind))
    return map_elements<int64_t, int64_t>(l, x, DType::kI64, integer_function(kind));
  const View reals = l.as_type(x, DType::kF32);
  if (const VectorActivation kernel = vector_activation(l.node())) return through_vector_kernel(l, reals, kernel);
  if (const auto eltwise = dnnl_eltwise(l.node())) return through_dnnl(l, reals, *eltwise);
  map_elements<float, float>(l, reals, DType::kF32, function_of(l.node()));
}

const RegisterLowering registered("Activation", lower);

}  // namespace
}  // namespace espalier
