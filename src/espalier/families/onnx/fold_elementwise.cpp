// Folding of elementwise operators. Integers wrap around, as they do at run time.
#include <algorithm>
#include <cmath>
#include <map>

#include "espalier/families/onnx/fold.h"
#include "espalier/io/onnx/attributes.h"

namespace espalier::fold_elementwise {
namespace {

int64_t wrapped(uint64_t value) { return static_cast<int64_t>(value); }
uint64_t bits(int64_t value) { return static_cast<uint64_t>(value); }

// Truncates, as ONNX does; nothing divides by 0, and −2^63 / −1 wraps.
int64_t quotient(int64_t a, int64_t b) { return b == 0 ? 0 : b == -1 ? wrapped(0 - bits(a)) : a / b; }

int64_t remainder_of(int64_t a, int64_t b, bool sign_of_dividend) {
  if (b == 0 || b == -1) return 0;
  const int64_t rest = a % b;
  return !sign_of_dividend && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

int64_t integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : 0;
  uint64_t result = 1, factor = bits(base);
  for (; exponent > 0; exponent >>= 1, factor *= factor)
    if (exponent & 1) result *= factor;
  return wrapped(result);
}

struct Binary {
  int64_t (*ints)(int64_t, int64_t);  // null: only for floating numbers
  double (*reals)(double, double);    // null: only for integers
  bool gives_bool = false;
};

const std::map<std::string, Binary>& binaries() {
  static const std::map<std::string, Binary> table = {
      {"Add",
       {[](int64_t a, int64_t b) { return wrapped(bits(a) + bits(b)); }, [](double a, double b) { return a + b; }}},
      {"Sub",
       {[](int64_t a, int64_t b) { return wrapped(bits(a) - bits(b)); }, [](double a, double b) { return a - b; }}},
      {"Mul",
       {[](int64_t a, int64_t b) { return wrapped(bits(a) * bits(b)); }, [](double a, double b) { return a * b; }}},
      {"Div", {quotient, [](double a, double b) { return a / b; }}},
      {"Pow", {integer_power, [](double a, double b) { return std::pow(a, b); }}},
      {"Min",
       {[](int64_t a, int64_t b) { return std::min(a, b); }, [](double a, double b) { return std::fmin(a, b); }}},
      {"Max",
       {[](int64_t a, int64_t b) { return std::max(a, b); }, [](double a, double b) { return std::fmax(a, b); }}},
      {"Equal",
       {[](int64_t a, int64_t b) { return int64_t{a == b}; }, [](double a, double b) { return double(a == b); }, true}},
      {"Less",
       {[](int64_t a, int64_t b) { return int64_t{a < b}; }, [](double a, double b) { return double(a < b); }, true}},
      {"LessOrEqual",
       {[](int64_t a, int64_t b) { return int64_t{a <= b}; }, [](double a, double b) { return double(a <= b); }, true}},
      {"Greater",
       {[](int64_t a, int64_t b) { return int64_t{a > b}; }, [](double a, double b) { return double(a > b); }, true}},
      {"GreaterOrEqual",
       {[](int64_t a, int64_t b) { return int64_t{a >= b}; }, [](double a, double b) { return double(a >= b); }, true}},
      {"And", {[](int64_t a, int64_t b) { return int64_t{a && b}; }, nullptr, true}},
      {"Or", {[](int64_t a, int64_t b) { return int64_t{a || b}; }, nullptr, true}},
      {"Xor", {[](int64_t a, int64_t b) { return int64_t{!a != !b}; }, nullptr, true}},
  };
  return table;
}

// The exponent of Pow may have another type than the base.
std::vector<Known> apply(const Binary& op, const Known& a, const Known& b) {
  Shape shape;
  if (!broadcast_shapes(a.shape, b.shape, shape) || count_of(shape) < 0) return {};
  const bool real = a.real() || b.real();
  if (real ? !op.reals : !op.ints) return {};
  Known out{op.gives_bool ? OnnxDataType::kBool : a.type, shape, {}, {}};
  if (real && !op.gives_bool && !a.real()) return {};
  const Shape a_strides = strides_of(a.shape), b_strides = strides_of(b.shape);
  for_each_index(shape, [&](int64_t, const Shape& at) {
    const auto i = static_cast<size_t>(broadcast_index(at, a.shape, a_strides)),
               j = static_cast<size_t>(broadcast_index(at, b.shape, b_strides));
    if (!real) {
      out.ints.push_back(op.ints(a.ints[i], b.ints[j]));
    } else if (op.gives_bool) {
      out.ints.push_back(op.reals(a.number(i), b.number(j)) != 0);
    } else {
      out.reals.push_back(rounded(out.type, op.reals(a.number(i), b.number(j))));
    }
  });
  return {std::move(out)};
}

bool divides_by_zero(const FoldCall& call) {
  const Known& b = call.input(1);
  return !b.real() && std::count(b.ints.begin(), b.ints.end(), 0) > 0;
}

std::vector<Known> binary(const FoldCall& call) {
  if (!call.has(0) || (call.inputs.size() > 1 && !call.has(1))) return {};
  const Binary& op = binaries().at(call.node.op_type);
  if (call.inputs.size() > 1 && call.node.op_type == "Div" && divides_by_zero(call)) return {};
  Known result = call.input(0);
  for (size_t i = 1; i < call.inputs.size(); ++i) {
    if (!call.has(i)) return {};
    auto next = apply(op, result, call.input(i));
    if (next.empty()) return {};
    result = std::move(next[0]);
  }
  return {std::move(result)};
}

std::vector<Known> mod(const FoldCall& call) {
  if (!call.has(0) || !call.has(1) || divides_by_zero(call)) return {};
  const bool fmod = call.integer("fmod", 0) != 0;
  const Binary op = fmod ? Binary{[](int64_t a, int64_t b) { return remainder_of(a, b, true); },
                                  [](double a, double b) { return std::fmod(a, b); }}
                         : Binary{[](int64_t a, int64_t b) { return remainder_of(a, b, false); }, nullptr};
  return apply(op, call.input(0), call.input(1));
}

using Unary = double (*)(double);

const std::map<std::string, Unary>& unaries() {
  static const std::map<std::string, Unary> table = {
      {"Floor", [](double x) { return std::floor(x); }},
      {"Ceil", [](double x) { return std::ceil(x); }},
      {"Round", [](double x) { return std::nearbyint(x); }},
      {"Sqrt", [](double x) { return std::sqrt(x); }},
      {"Exp", [](double x) { return std::exp(x); }},
      {"Log", [](double x) { return std::log(x); }},
      {"Sin", [](double x) { return std::sin(x); }},
      {"Cos", [](double x) { return std::cos(x); }},
      {"Reciprocal", [](double x) { return 1 / x; }},
      {"Tanh", [](double x) { return std::tanh(x); }},
      {"Erf", [](double x) { return std::erf(x); }},
      {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"Relu", [](double x) { return std::max(x, 0.0); }},
      {"Neg", [](double x) { return -x; }},
      {"Abs", [](double x) { return std::fabs(x); }},
      {"Sign", [](double x) { return double(x > 0) - double(x < 0); }},
  };
  return table;
}

int64_t unary_integer(const std::string& op, int64_t x) {
  const int64_t negated = wrapped(0 - bits(x));
  if (op == "Neg") return negated;
  if (op == "Abs") return x < 0 ? negated : x;
  if (op == "Relu") return std::max<int64_t>(x, 0);
  return (x > 0) - (x < 0);
}

std::vector<Known> unary(const FoldCall& call) {
  if (!call.has(0)) return {};
  const std::string& op = call.node.op_type;
  const Known& x = call.input(0);
  Known out = empty_like(x, x.shape);
  if (!x.real()) {
    if (op != "Neg" && op != "Abs" && op != "Relu" && op != "Sign") return {};
    for (int64_t value : x.ints) out.ints.push_back(unary_integer(op, value));
  } else {
    const Unary function = unaries().at(op);
    for (double value : x.reals) out.reals.push_back(rounded(x.type, function(value)));
  }
  return {std::move(out)};
}

std::vector<Known> logical_not(const FoldCall& call) {
  if (!call.has(0) || call.input(0).real()) return {};
  Known out{OnnxDataType::kBool, call.input(0).shape, {}, {}};
  for (int64_t value : call.input(0).ints) out.ints.push_back(value == 0);
  return {std::move(out)};
}

std::vector<Known> is_nan(const FoldCall& call) {
  if (!call.has(0) || !call.input(0).real()) return {};
  Known out{OnnxDataType::kBool, call.input(0).shape, {}, {}};
  for (double value : call.input(0).reals) out.ints.push_back(std::isnan(value));
  return {std::move(out)};
}

// A floating number as an integer; what no integer can hold has no meaning at run time either.
int64_t truncated(double value) {
  constexpr double kLimit = 9.2e18;
  return std::isnan(value) ? 0 : static_cast<int64_t>(std::clamp(value, -kLimit, kLimit));
}

int64_t narrowed(OnnxDataType type, int64_t value) {
  switch (type) {
    case OnnxDataType::kInt32:
      return static_cast<int32_t>(value);
    case OnnxDataType::kInt16:
      return static_cast<int16_t>(value);
    case OnnxDataType::kInt8:
      return static_cast<int8_t>(value);
    case OnnxDataType::kUint32:
      return static_cast<uint32_t>(value);
    case OnnxDataType::kUint16:
      return static_cast<uint16_t>(value);
    case OnnxDataType::kUint8:
      return static_cast<uint8_t>(value);
    default:
      return value;
  }
}

std::vector<Known> cast_to(const Known& x, OnnxDataType type) {
  const OnnxTypeInfo* info = onnx_type_info(type);
  if (!info || !info->dtype) return {};
  Known out{type, x.shape, {}, {}};
  for (size_t i = 0; i < x.count(); ++i) {
    if (out.real()) {
      out.reals.push_back(rounded(type, x.number(i)));
    } else if (type == OnnxDataType::kBool) {
      out.ints.push_back(x.number(i) != 0);
    } else {
      out.ints.push_back(narrowed(type, x.real() ? truncated(x.reals[i]) : x.ints[i]));
    }
  }
  return {std::move(out)};
}

std::vector<Known> cast(const FoldCall& call) {
  if (!call.has(0)) return {};
  return cast_to(call.input(0), static_cast<OnnxDataType>(call.integer("to", 0)));
}

std::vector<Known> where(const FoldCall& call) {
  if (!call.has(0) || !call.has(1) || !call.has(2)) return {};
  const Known &condition = call.input(0), &a = call.input(1), &b = call.input(2);
  Shape pair, shape;
  if (condition.real() || a.real() != b.real() || !broadcast_shapes(a.shape, b.shape, pair) ||
      !broadcast_shapes(condition.shape, pair, shape) || count_of(shape) < 0)
    return {};
  Known out = empty_like(a, shape);
  const Shape c_strides = strides_of(condition.shape), a_strides = strides_of(a.shape), b_strides = strides_of(b.shape);
  for_each_index(shape, [&](int64_t, const Shape& at) {
    const bool first = condition.ints[static_cast<size_t>(broadcast_index(at, condition.shape, c_strides))] != 0;
    const Known& from = first ? a : b;
    append(out, from, static_cast<size_t>(broadcast_index(at, from.shape, first ? a_strides : b_strides)));
  });
  return {std::move(out)};
}

std::vector<Known> clip(const FoldCall& call) {
  if (!call.has(0) || call.opset < 11) return {};
  Known out = call.input(0);
  for (size_t side = 1; side <= 2; ++side) {
    if (!call.has(side)) continue;
    const Known& bound = call.input(side);
    if (bound.count() != 1 || bound.real() != out.real()) return {};
    for (double& value : out.reals)
      value = side == 1 ? std::max(value, bound.reals[0]) : std::min(value, bound.reals[0]);
    for (int64_t& value : out.ints) value = side == 1 ? std::max(value, bound.ints[0]) : std::min(value, bound.ints[0]);
  }
  return {std::move(out)};
}

const RegisterFolder registered[] = {
    {"Add", binary},       {"Sub", binary},         {"Mul", binary},     {"Div", binary},
    {"Pow", binary},       {"Min", binary},         {"Max", binary},     {"Equal", binary},
    {"Less", binary},      {"LessOrEqual", binary}, {"Greater", binary}, {"GreaterOrEqual", binary},
    {"And", binary},       {"Or", binary},          {"Xor", binary},     {"Mod", mod},
    {"Floor", unary},      {"Ceil", unary},         {"Round", unary},    {"Sqrt", unary},
    {"Exp", unary},        {"Log", unary},          {"Sin", unary},      {"Cos", unary},
    {"Reciprocal", unary}, {"Tanh", unary},         {"Erf", unary},      {"Sigmoid", unary},
    {"Relu", unary},       {"Neg", unary},          {"Abs", unary},      {"Sign", unary},
    {"Not", logical_not},  {"IsNaN", is_nan},       {"Cast", cast},      {"Where", where},
    {"Clip", clip},
};

}  // namespace
}  // namespace espalier::fold_elementwise
