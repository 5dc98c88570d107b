// Conv: channels-last pictures, weights in oneDNN's own order, BatchNorm in the weights, the tail in the same kernel.
#include "espalier/engine/ops/dnnl_tools.h"
#include "espalier/engine/ops/windows.h"

namespace espalier {
namespace {

using Conv = dnnl::convolution_forward;

// [O, C / group, …] or, with groups, [group, O / group, C / group, …].
Shape weight_dims(const Shape& weight, int64_t group) {
  if (group == 1) return weight;
  Shape dims{group, weight[0] / group};
  dims.insert(dims.end(), weight.begin() + 1, weight.end());
  return dims;
}

void lower(Lowering& l) {
  const View x = l.channels_last(l.as_type(l.input(0), DType::kF32));
  const Shape &weight = l.graph().parameter_of(l.node(), "weight").shape(), &shape = l.output_shape();
  const Shape strides = channels_last_strides(shape);
  const WindowDims window = window_dims(l, {weight.begin() + 2, weight.end()});
  const int64_t outputs = weight[0], per_output = element_count(weight) / std::max<int64_t>(1, outputs);
  const FoldedWeights values = folded_weights(l, outputs, [&](int64_t i) { return i / per_output; });
  const Shape dims = weight_dims(weight, l.node().integer_or("group", 1));
  PostOps tail = post_ops(l, shape, strides, dnnl_desc(shape, strides));
  const View y = tail.sum ? *tail.sum : l.make(DType::kF32, shape, strides);
  l.set_output(0, y);
  if (y.count() == 0) return;

  const dnnl::memory::desc any(dims, dnnl::memory::data_type::f32, dnnl::memory::format_tag::any);
  const auto bias = values.bias.empty() ? dnnl::memory::desc() : dnnl_desc({outputs}, {1});
  const Conv::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, dnnl_desc(x), any,
                        bias, dnnl_desc(shape, strides), window.strides, window.dilations, window.begin, window.end);
  const Conv::primitive_desc chosen(desc, tail.attributes, dnnl_cpu());
  Primitive primitive{Conv(chosen),
                      chosen.scratchpad_desc(),
                      std::move(tail.operands),
                      {{DNNL_ARG_DST, y, dnnl_desc(shape, strides)}},
                      {}};
  primitive.inputs.push_back({DNNL_ARG_SRC, x, dnnl_desc(x)});
  primitive.fixed.emplace_back(
      DNNL_ARG_WEIGHTS, dnnl_weights(values.weight, dnnl_desc(dims, contiguous_strides(dims)), chosen.weights_desc()));
  if (!values.bias.empty()) primitive.fixed.emplace_back(DNNL_ARG_BIAS, dnnl_weights(values.bias, bias, bias));
  add_primitive(l, std::move(primitive));
}

const RegisterLowering registered("Conv", lower);

}  // namespace
}  // namespace espalier
