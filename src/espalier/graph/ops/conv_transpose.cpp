// ConvTranspose: x [n, C, …] with 1 or 2 spatial dims, `weight` [C, O / group, kernel …], optional `bias` [O].
// Attributes: `group` (default 1), `output_padding` (one entry a spatial dim, default 0) and those of window_rules.h,
// whose pads take away from the output.
#include "espalier/graph/ops/channel_rules.h"
#include "espalier/graph/ops/window_rules.h"

namespace espalier::conv_transpose_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const Shape &x = view.input(0), &weight = view.param("weight");
  check_rank(view, x, 3, 4);
  if (weight.size() != x.size()) shape_mismatch(view, "weight", fmt::format("{} dims", x.size()), weight);
  const int64_t group = view.node().integer_or("group", 1);
  if (group < 1 || x[1] % group != 0)
    throw UserError(view.node().name, "group", fmt::format("a divisor of {} channels", x[1]), fmt::format("{}", group));
  if (weight[0] != x[1]) shape_mismatch(view, "input channels of the weight", fmt::format("{}", x[1]), weight);
  const Shape bias{size_product(view, weight[1], group)};
  if (view.node().has_param("bias") && view.param("bias") != bias)
    shape_mismatch(view, "bias", to_string(bias), view.param("bias"));
  const Window window = window_of(view, {weight.begin() + 2, weight.end()});
  const size_t spatial = window.kernel.size();
  const auto extra = view.node().integers_or("output_padding", std::vector<int64_t>(spatial, 0));
  check_entries(view, "output_padding", extra, spatial, 0);
  Shape out{x[0], bias[0]};
  for (size_t i = 0; i < spatial; ++i) {
    if (extra[i] >= std::max(window.strides[i], window.dilations[i]))
      throw UserError(view.node().name, "output_padding", "less than the stride or the dilation",
                      fmt::format("{}", extra[i]));
    out.push_back(size_product(view, x[i + 2] - 1, window.strides[i]) + window.extent(i) + extra[i] -
                  window.padding(i));
    if (out.back() < 1)
      throw UserError(view.node().name, "pads", "ones that leave an output", fmt::format("{}", window.padding(i)));
  }
  return {out};
}

Cost cost(const NodeView& view) {
  const Shape& weight = view.param("weight");
  const double per_input =
      static_cast<double>(element_count(weight)) / static_cast<double>(std::max<int64_t>(1, weight[0]));
  return {2.0 * per_input * static_cast<double>(element_count(view.input(0))), view.param_bytes()};
}

// As Conv with dims 0 and 1 of the weight swapped. The weight has no dim of all outputs, so with groups an output takes
// the atom of the weight's index that serves it in every group.
void couple(Coupler& coupler, const NodeView& view) {
  const Shape& weight = view.param("weight");
  const auto group = static_cast<size_t>(view.node().integer_or("group", 1));
  const Atoms &in = coupler.input(0, 1), &w_in = coupler.param("weight", 0), &w_out = coupler.param("weight", 1);
  for (size_t axis = 2; axis < weight.size(); ++axis) coupler.freeze(coupler.param("weight", static_cast<int>(axis)));
  coupler.tie_all(in, w_in);
  const size_t in_each = w_in.size() / group, out_each = w_out.size();
  const bool depthwise = group > 1 && in_each == 1;
  Atoms out(out_each * group);
  if (group > 1 && (depthwise || coupler.group_conv() == GroupConvPolicy::kDropGroups)) {
    coupler.freeze(w_out);
    coupler.tie_runs(w_in, static_cast<int64_t>(in_each));
    Atoms leaders;
    for (size_t k = 0; k < group; ++k) leaders.push_back(w_in[k * in_each]);
    for (size_t i = 0; i < out.size(); ++i) out[i] = leaders[i / out_each];
    coupler.counts("group", 0, leaders);
  } else {
    if (group > 1) coupler.tie_strided(w_in, static_cast<int64_t>(in_each));
    for (size_t i = 0; i < out.size(); ++i) out[i] = w_out[i % out_each];
  }
  if (view.node().has_param("bias")) coupler.tie_all(coupler.param("bias", 0), out);
  freeze_positions(coupler, view);
  coupler.set_output(0, 0, coupler.input(0, 0));
  coupler.set_output(0, 1, std::move(out));
}

const RegisterOperator registered({"ConvTranspose", infer, cost, couple});

}  // namespace
}  // namespace espalier::conv_transpose_op
