// Elementwise operators of two or three inputs, with broadcasting: Add, Sub, Mul, Div, Pow, Min, Max, Compare, Where;
// and PRelu and Gate, whose second input is a parameter. Types are promoted: bool < int64 < fp32.
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/engine/ops/broadcast.h"

namespace espalier {
namespace {

// One run: inputs that lie next to each other or stay the same are worth loops of their own.
template <typename T, typename R, typename Fn>
void binary_row(const T* a, int64_t by_a, const T* b, int64_t by_b, R* y, int64_t count, const Fn& fn) {
  if (by_a == 1 && by_b == 1) {
    for (int64_t i = 0; i < count; ++i) y[i] = fn(a[i], b[i]);
  } else if (by_a == 1 && by_b == 0) {
    const T same = *b;
    for (int64_t i = 0; i < count; ++i) y[i] = fn(a[i], same);
  } else if (by_a == 0 && by_b == 1) {
    const T same = *a;
    for (int64_t i = 0; i < count; ++i) y[i] = fn(same, b[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) y[i] = fn(a[i * by_a], b[i * by_b]);
  }
}

template <typename T, typename R, typename Fn>
void combine(Lowering& l, const View& a, const View& b, DType result, const Fn& fn) {
  const View y = elementwise_output(l, result, l.output_shape(), {a, b});
  const Broadcast<2> loop(y, {a, b});
  l.step({a, b}, {y}, [loop, fn](const StepPointers& p) {
    const T *x0 = p.input<T>(0), *x1 = p.input<T>(1);
    R* to = p.output<R>(0);
    loop.run([&](const Broadcast<2>::Row& row) {
      binary_row(x0 + row.from[0], row.by[0], x1 + row.from[1], row.by[1], to + row.to, row.count, fn);
    });
  });
  l.set_output(0, y);
}

// The same function for every type that both inputs may have together.
template <typename Fn>
void arithmetic(Lowering& l, const Fn& fn) {
  const DType type = promoted(l.input(0).dtype, l.input(1).dtype);
  const View a = l.as_type(l.input(0), type), b = l.as_type(l.input(1), type);
  if (type == DType::kF32) return combine<float, float>(l, a, b, type, fn);
  if (type == DType::kI64) return combine<int64_t, int64_t>(l, a, b, type, fn);
  // Sums and products of truth values are truth values.
  combine<uint8_t, uint8_t>(l, a, b, type,
                            [fn](uint8_t p, uint8_t q) { return static_cast<uint8_t>(fn(int{p}, int{q}) != 0); });
}

template <typename T>
T power(T base, T exponent) {
  if constexpr (std::is_same_v<T, float>) return std::pow(base, exponent);
  if (exponent < 0) return base == 1 ? 1 : base == T(-1) ? (exponent % 2 == 0 ? T(1) : T(-1)) : T(0);
  T result = 1;
  for (T i = exponent; i > 0; i /= 2, base *= base)
    if (i % 2 != 0) result *= base;
  return result;
}
template <>
float power(float base, float exponent) {
  return std::pow(base, exponent);
}

const RegisterLowering add("Add", [](Lowering& l) { arithmetic(l, [](auto a, auto b) { return a + b; }); });
const RegisterLowering sub("Sub", [](Lowering& l) { arithmetic(l, [](auto a, auto b) { return a - b; }); });
const RegisterLowering mul("Mul", [](Lowering& l) { arithmetic(l, [](auto a, auto b) { return a * b; }); });
// A NaN stays one.
const RegisterLowering max("Max",
                           [](Lowering& l) { arithmetic(l, [](auto a, auto b) { return a > b || a != a ? a : b; }); });
const RegisterLowering min("Min",
                           [](Lowering& l) { arithmetic(l, [](auto a, auto b) { return a < b || a != a ? a : b; }); });

const RegisterLowering div("Div", [](Lowering& l) {
  const View a = l.as_type(l.input(0), DType::kF32), b = l.as_type(l.input(1), DType::kF32);
  combine<float, float>(l, a, b, DType::kF32, [](float p, float q) { return p / q; });
});

// The usual exponents are worth a multiplication or a root.
void lower_pow(Lowering& l) {
  const View& exponent = l.input(1);
  if (promoted(l.input(0).dtype, exponent.dtype) == DType::kF32 && l.is_constant(exponent) && exponent.count() == 1) {
    const View constant = l.as_type(exponent, DType::kF32), x = l.as_type(l.input(0), DType::kF32);
    const float value = *reinterpret_cast<const float*>(l.constant_bytes(constant));
    if (value == 2) return combine<float, float>(l, x, constant, DType::kF32, [](float a, float) { return a * a; });
    if (value == 0.5f)
      return combine<float, float>(l, x, constant, DType::kF32, [](float a, float) { return std::sqrt(a); });
  }
  arithmetic(l, [](auto a, auto b) { return power(a, b); });
}
const RegisterLowering pow("Pow", lower_pow);

template <typename T>
void compare_as(Lowering& l, const View& a, const View& b, const std::string& kind) {
  auto with = [&](auto fn) { combine<T, uint8_t>(l, a, b, DType::kBool, fn); };
  if (kind == "equal") return with([](T p, T q) { return p == q; });
  if (kind == "less") return with([](T p, T q) { return p < q; });
  if (kind == "less_or_equal") return with([](T p, T q) { return p <= q; });
  if (kind == "greater") return with([](T p, T q) { return p > q; });
  if (kind == "greater_or_equal") return with([](T p, T q) { return p >= q; });
  if (kind == "and") return with([](T p, T q) { return p && q; });
  if (kind == "or") return with([](T p, T q) { return p || q; });
  ESP_ASSERT(kind == "xor", "comparison {}", kind);
  with([](T p, T q) { return !p != !q; });
}

void lower_compare(Lowering& l) {
  const DType type = promoted(l.input(0).dtype, l.input(1).dtype);
  const View a = l.as_type(l.input(0), type), b = l.as_type(l.input(1), type);
  const std::string kind = l.node().text("kind");
  if (type == DType::kF32) return compare_as<float>(l, a, b, kind);
  if (type == DType::kI64) return compare_as<int64_t>(l, a, b, kind);
  compare_as<uint8_t>(l, a, b, kind);
}
const RegisterLowering compare("Compare", lower_compare);

template <typename T>
void where_as(Lowering& l, const View& truth, const View& a, const View& b) {
  const View y = elementwise_output(l, a.dtype, l.output_shape(), {a, b});
  const Broadcast<3> loop(y, {truth, a, b});
  l.step({truth, a, b}, {y}, [loop](const StepPointers& p) {
    const uint8_t* chosen = p.input<uint8_t>(0);
    const T *yes = p.input<T>(1), *no = p.input<T>(2);
    T* to = p.output<T>(0);
    loop.run([&](const Broadcast<3>::Row& row) {
      for (int64_t i = 0; i < row.count; ++i)
        to[row.to + i] =
            chosen[row.from[0] + i * row.by[0]] ? yes[row.from[1] + i * row.by[1]] : no[row.from[2] + i * row.by[2]];
    });
  });
  l.set_output(0, y);
}

void lower_where(Lowering& l) {
  const DType type = promoted(l.input(1).dtype, l.input(2).dtype);
  const View truth = l.as_type(l.input(0), DType::kBool), a = l.as_type(l.input(1), type),
             b = l.as_type(l.input(2), type);
  if (type == DType::kF32) return where_as<float>(l, truth, a, b);
  if (type == DType::kI64) return where_as<int64_t>(l, truth, a, b);
  where_as<uint8_t>(l, truth, a, b);
}
const RegisterLowering where("Where", lower_where);

const RegisterLowering prelu("PRelu", [](Lowering& l) {
  const View x = l.as_type(l.input(0), DType::kF32), slope = l.constant(l.param("slope"));
  combine<float, float>(l, x, slope, DType::kF32, [](float a, float s) { return a > 0 ? a : a * s; });
});
const RegisterLowering gate("Gate", [](Lowering& l) {
  const View x = l.as_type(l.input(0), DType::kF32), by = l.constant(l.param("gate"));
  combine<float, float>(l, x, by, DType::kF32, [](float a, float g) { return a * g; });
});

}  // namespace
}  // namespace espalier
