// Linear: y = x Wᵀ + b. `weight` is [out, in]; with the flag `transposed` it is stored [in, out] (GPT-2's Conv1D).
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::linear_op {
namespace {

size_t out_axis(const NodeView& view) { return view.node().flag_or("transposed", false) ? 1 : 0; }

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  const Shape& weight = view.param("weight");
  const int64_t in = weight.at(1 - out_axis(view)), out = weight.at(out_axis(view));
  if (shape.back() != in) shape_mismatch(view, "input width of the weight", fmt::format("{}", shape.back()), weight);
  if (view.node().has_param("bias") && view.param("bias") != Shape{out})
    shape_mismatch(view, "bias", to_string({out}), view.param("bias"));
  shape.back() = out;
  return {shape};
}

Cost cost(const NodeView& view) {
  const Shape& weight = view.param("weight");
  const double rows = static_cast<double>(element_count(view.input(0)) / std::max<int64_t>(1, view.input(0).back()));
  return {2.0 * rows * static_cast<double>(element_count(weight)), view.param_bytes()};
}

void couple(Coupler& coupler, const NodeView& view) {
  const int out = static_cast<int>(out_axis(view));
  coupler.tie_all(coupler.input(0, -1), coupler.param("weight", 1 - out));
  if (view.node().has_param("bias")) coupler.tie_all(coupler.param("bias", 0), coupler.param("weight", out));
  for (int axis = 0; axis + 1 < static_cast<int>(coupler.input_rank(0)); ++axis)
    coupler.set_output(0, axis, coupler.input(0, axis));
  coupler.set_output(0, -1, coupler.param("weight", out));
}

const RegisterOperator registered({"Linear", infer, cost, couple});

}  // namespace
}  // namespace espalier::linear_op
