// Softmax along an axis, which is brought innermost.
#include <cstring>

#include "espalier/engine/kernels.h"
#include "espalier/engine/ops/broadcast.h"

namespace espalier {
namespace {

void lower(Lowering& l) {
  View x = l.as_type(l.input(0), DType::kF32);
  const size_t axis = l.axis(l.node().integer_or("axis", -1), x.rank());
  std::swap(x.shape[axis], x.shape.back());
  std::swap(x.strides[axis], x.strides.back());
  x = l.contiguous(x);
  View y = elementwise_output(l, DType::kF32, x.shape, {x});
  const int64_t width = x.shape.back(), rows = x.count() / std::max<int64_t>(1, width);
  l.step({x}, {y}, [rows, width, softmax = vector_kernels().softmax](const StepPointers& p) {
    parallel_parts(rows, rows * width * 8, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        float* to = p.output<float>(0) + r * width;
        if (p.out[0] != p.in[0])
          std::memcpy(to, p.input<float>(0) + r * width, static_cast<size_t>(width) * sizeof(float));
        softmax(to, width);
      }
    });
  });
  std::swap(y.shape[axis], y.shape.back());
  std::swap(y.strides[axis], y.strides.back());
  l.set_output(0, y);
}

const RegisterLowering registered("Softmax", lower);

}  // namespace
}  // namespace espalier
