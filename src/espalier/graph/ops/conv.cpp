// Conv: x [n, C, …] with 1 or 2 spatial dims, `weight` [O, C / group, kernel …], optional `bias` [O]. Attributes:
// `group` (default 1) and those of window_rules.h.
#include "espalier/graph/ops/channel_rules.h"
#include "espalier/graph/ops/window_rules.h"

namespace espalier::conv_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const Shape &x = view.input(0), &weight = view.param("weight");
  check_rank(view, x, 3, 4);
  if (weight.size() != x.size()) shape_mismatch(view, "weight", fmt::format("{} dims", x.size()), weight);
  const int64_t group = view.node().integer_or("group", 1);
  if (group < 1 || x[1] % group != 0 || weight[0] % group != 0)
    throw UserError(view.node().name, "group", fmt::format("a divisor of {} and {} channels", x[1], weight[0]),
                    fmt::format("{}", group));
  if (weight[1] != x[1] / group)
    shape_mismatch(view, "input channels of the weight", fmt::format("{}", x[1] / group), weight);
  if (view.node().has_param("bias") && view.param("bias") != Shape{weight[0]})
    shape_mismatch(view, "bias", to_string({weight[0]}), view.param("bias"));
  const Window window = window_of(view, {weight.begin() + 2, weight.end()});
  Shape out{x[0], weight[0]};
  for (size_t i = 0; i < window.kernel.size(); ++i) out.push_back(window_count(view, window, i, x[i + 2], false));
  return {out};
}

Cost cost(const NodeView& view) {
  const Shape& weight = view.param("weight");
  const double per_output =
      static_cast<double>(element_count(weight)) / static_cast<double>(std::max<int64_t>(1, weight[0]));
  return {2.0 * per_output * static_cast<double>(element_count(view.output(0))), view.param_bytes()};
}

// All inputs and outputs of a convolution group form one set, of which `group` counts one each.
void drop_groups(Coupler& coupler, const Atoms& in, const Atoms& out, size_t group) {
  Atoms leaders;
  if (in.empty()) coupler.freeze(out);
  for (size_t k = 0; k < group; ++k) {
    const int32_t leader = out[k * (out.size() / group)];
    for (size_t i = 0; i < out.size() / group; ++i) coupler.tie(leader, out[k * (out.size() / group) + i]);
    for (size_t i = 0; i < in.size() / group; ++i) coupler.tie(leader, in[k * (in.size() / group) + i]);
    leaders.push_back(leader);
  }
  coupler.counts("group", 0, leaders);
}

void couple(Coupler& coupler, const NodeView& view) {
  const Shape& weight = view.param("weight");
  const auto group = static_cast<size_t>(view.node().integer_or("group", 1));
  const Atoms &in = coupler.input(0, 1), &w_out = coupler.param("weight", 0), &w_in = coupler.param("weight", 1);
  for (size_t axis = 2; axis < weight.size(); ++axis) coupler.freeze(coupler.param("weight", static_cast<int>(axis)));
  const bool depthwise = group > 1 && static_cast<int64_t>(group) == view.input(0)[1];
  if (group == 1) {
    coupler.tie_all(in, w_in);
  } else if (depthwise || coupler.group_conv() == GroupConvPolicy::kDropGroups) {
    coupler.freeze(w_in);
    drop_groups(coupler, in, w_out, group);
  } else {
    if (in.empty()) coupler.freeze(w_in);
    for (size_t i = 0; i < in.size(); ++i) coupler.tie(w_in[i % w_in.size()], in[i]);
    coupler.tie_strided(w_out, static_cast<int64_t>(w_out.size() / group));
  }
  if (view.node().has_param("bias")) coupler.tie_all(coupler.param("bias", 0), w_out);
  freeze_positions(coupler, view);
  coupler.set_output(0, 0, coupler.input(0, 0));
  coupler.set_output(0, 1, w_out);
}

const RegisterOperator registered({"Conv", infer, cost, couple});

}  // namespace
}  // namespace espalier::conv_op
