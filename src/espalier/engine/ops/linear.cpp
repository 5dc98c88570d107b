// Linear as oneDNN's matrix product of the flattened rows: weights in its own order, bias, norm and tail inside.
#include "espalier/engine/ops/dnnl_tools.h"

namespace espalier {
namespace {

void lower(Lowering& l) {
  const View x = l.contiguous(l.as_type(l.input(0), DType::kF32));
  const Shape &stored = l.graph().parameter_of(l.node(), "weight").shape(), &shape = l.output_shape();
  const bool transposed = l.node().flag_or("transposed", false);
  const int64_t in = stored[transposed ? 0 : 1], out = stored[transposed ? 1 : 0];
  const int64_t rows = element_count(Shape(shape.begin(), shape.end() - 1));
  const FoldedWeights values = folded_weights(l, out, [&](int64_t i) { return transposed ? i % out : i / in; });
  const auto x_desc = dnnl_desc({rows, in}, {in, 1}), y_desc = dnnl_desc({rows, out}, {out, 1});
  PostOps tail = post_ops(l, shape, contiguous_strides(shape), y_desc);
  const View y = tail.sum ? *tail.sum : l.make(DType::kF32, shape);
  l.set_output(0, y);
  if (y.count() == 0) return;

  const dnnl::memory::desc any({in, out}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::any);
  const auto bias = dnnl_desc({1, out}, {out, 1});
  const dnnl::matmul::desc desc =
      values.bias.empty() ? dnnl::matmul::desc(x_desc, any, y_desc) : dnnl::matmul::desc(x_desc, any, bias, y_desc);
  const dnnl::matmul::primitive_desc chosen(desc, tail.attributes, dnnl_cpu());
  Primitive primitive{
      dnnl::matmul(chosen), chosen.scratchpad_desc(), std::move(tail.operands), {{DNNL_ARG_DST, y, y_desc}}, {}};
  primitive.inputs.push_back({DNNL_ARG_SRC, x, x_desc});
  primitive.fixed.emplace_back(
      DNNL_ARG_WEIGHTS, dnnl_weights(values.weight, dnnl_desc({in, out}, transposed ? Shape{out, 1} : Shape{1, in}),
                                     chosen.weights_desc()));
  if (!values.bias.empty()) primitive.fixed.emplace_back(DNNL_ARG_BIAS, dnnl_weights(values.bias, bias, bias));
  add_primitive(l, std::move(primitive));
}

const RegisterLowering registered("Linear", lower);

}  // namespace
}  // namespace espalier
