// ConvTranspose through oneDNN's deconvolution, channels last. What output_padding adds takes away from the padding at
// the end, which may become negative.
#include "espalier/engine/ops/dnnl_tools.h"
#include "espalier/engine/ops/windows.h"

namespace espalier {
namespace {

using Deconv = dnnl::deconvolution_forward;

struct Sizes {
  int64_t group, in, out;  // channels of one group
};

Primitive deconvolution(const View& x, const View& y, const WindowDims& window, const Sizes& s,
                        const FoldedWeights& values, PostOps tail) {
  Shape dims{s.group, s.out, s.in};
  dims.insert(dims.end(), window.kernel.begin(), window.kernel.end());
  Shape strides = contiguous_strides(dims);  // as stored: [group, in, out, …]
  const int64_t taps = element_count(window.kernel);
  strides[1] = taps;
  strides[2] = s.out * taps;
  if (s.group == 1) {
    dims.erase(dims.begin());
    strides.erase(strides.begin());
  }
  const dnnl::memory::desc any(dims, dnnl::memory::data_type::f32, dnnl::memory::format_tag::any);
  const auto bias = values.bias.empty() ? dnnl::memory::desc() : dnnl_desc({s.group * s.out}, {1});
  const Deconv::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::deconvolution_direct, dnnl_desc(x), any,
                          bias, dnnl_desc(y), window.strides, window.dilations, window.begin, window.end);
  const Deconv::primitive_desc chosen(desc, tail.attributes, dnnl_cpu());
  Primitive primitive{
      Deconv(chosen), chosen.scratchpad_desc(), std::move(tail.operands), {{DNNL_ARG_DST, y, dnnl_desc(y)}}, {}};
  primitive.inputs.push_back({DNNL_ARG_SRC, x, dnnl_desc(x)});
  primitive.fixed.emplace_back(DNNL_ARG_WEIGHTS,
                               dnnl_weights(values.weight, dnnl_desc(dims, strides), chosen.weights_desc()));
  if (!values.bias.empty()) primitive.fixed.emplace_back(DNNL_ARG_BIAS, dnnl_weights(values.bias, bias, bias));
  return primitive;
}

void lower(Lowering& l) {
  const View x = l.channels_last(l.as_type(l.input(0), DType::kF32));
  const Shape &weight = l.graph().parameter_of(l.node(), "weight").shape(), &shape = l.output_shape();
  const Shape strides = channels_last_strides(shape);
  const int64_t group = l.node().integer_or("group", 1);
  const Sizes sizes{group, weight[0] / group, weight[1]};
  WindowDims window = window_dims(l, {weight.begin() + 2, weight.end()});
  const auto extra = l.node().integers_or("output_padding", Shape(window.kernel.size(), 0));
  for (size_t i = 0; i < extra.size(); ++i) window.end[i] -= extra[i];
  const int64_t taps = element_count(window.kernel);
  const FoldedWeights values = folded_weights(l, group * sizes.out, [&](int64_t i) {
    return i / taps / sizes.out / sizes.in * sizes.out + i / taps % sizes.out;
  });
  PostOps tail = post_ops(l, shape, strides, dnnl_desc(shape, strides));
  const View y = tail.sum ? *tail.sum : l.make(DType::kF32, shape, strides);
  l.set_output(0, y);
  if (y.count() > 0) add_primitive(l, deconvolution(x, y, window, sizes, values, std::move(tail)));
}

const RegisterLowering registered("ConvTranspose", lower);

}  // namespace
}  // namespace espalier
