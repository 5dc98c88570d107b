// MatMul of two values through oneDNN, which takes any strides as long as one of the last two dims is a run.
#include <cstring>

#include "espalier/engine/ops/dnnl_tools.h"

namespace espalier {
namespace {

// With as many dims as the output, the new ones in front of size 1.
View with_rank(const View& view, size_t rank) {
  View result = view;
  result.shape.insert(result.shape.begin(), rank - view.rank(), 1);
  result.strides.insert(result.strides.begin(), rank - view.rank(), 0);
  return result;
}

// Rows or columns next to each other, no stride of 0 or below, rows that do not overlap.
bool fits(const View& view) {
  const size_t r = view.rank();
  for (size_t d = 0; d < r; ++d)
    if (view.shape[d] > 1 && view.strides[d] <= 0) return false;
  const int64_t m = view.shape[r - 2], n = view.shape[r - 1], by_row = view.strides[r - 2],
                by_column = view.strides[r - 1];
  return (by_column == 1 && by_row >= n) || (by_row == 1 && by_column >= m);
}

View operand(Lowering& l, const View& view, size_t rank) {
  View result = with_rank(fits(view) ? view : l.contiguous(view), rank);
  int64_t span = 1;  // a dim of size 1 gets a stride that oneDNN takes as in order
  for (size_t d = rank; d-- > 0;) {
    if (result.shape[d] == 1 && result.strides[d] <= 0) result.strides[d] = span;
    span = std::max(span, result.shape[d] * result.strides[d]);
  }
  return result;
}

void lower(Lowering& l) {
  const Shape& shape = l.output_shape();
  const View a = operand(l, l.as_type(l.input(0), DType::kF32), shape.size()),
             b = operand(l, l.as_type(l.input(1), DType::kF32), shape.size());
  const View y = l.make(DType::kF32, shape);
  l.set_output(0, y);
  if (a.count() == 0 || b.count() == 0) {
    l.step({a, b}, {y}, [bytes = static_cast<size_t>(y.count()) * sizeof(float)](const StepPointers& p) {
      std::memset(p.out[0], 0, bytes);
    });
    return;
  }
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::matmul::primitive_desc chosen(dnnl::matmul::desc(dnnl_desc(a), dnnl_desc(b), dnnl_desc(y)), attributes,
                                            dnnl_cpu());
  add_primitive(l, {dnnl::matmul(chosen),
                    chosen.scratchpad_desc(),
                    {{DNNL_ARG_SRC, a, dnnl_desc(a)}, {DNNL_ARG_WEIGHTS, b, dnnl_desc(b)}},
                    {{DNNL_ARG_DST, y, dnnl_desc(y)}},
                    {}});
}

const RegisterLowering registered("MatMul", lower);

}  // namespace
}  // namespace espalier
