#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::pad_kernel {
namespace {

// Indices of one axis: reflected without the edge, or the edge again and again.
at::Tensor padded_indices(int64_t size, int64_t before, int64_t after, bool reflect) {
  std::vector<int64_t> indices;
  for (int64_t i = -before; i < size + after; ++i) {
    const int64_t low = reflect ? -i : 0, high = reflect ? 2 * (size - 1) - i : size - 1;
    indices.push_back(i < 0 ? low : i >= size ? high : i);
  }
  return at::tensor(indices, at::kLong);
}

const RegisterKernel registered("Pad", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const auto& pads = c.node.integers("pads");
  const std::string mode = c.node.text_or("mode", "constant");
  at::Tensor x = c.inputs[0];
  const int64_t rank = x.dim();
  if (mode == "constant") {
    std::vector<int64_t> aten;
    for (int64_t d = rank; d-- > 0;) {
      aten.push_back(pads[d]);
      aten.push_back(pads[d + rank]);
    }
    return {at::constant_pad_nd(x, aten, c.node.real_or("value", 0))};
  }
  for (int64_t d = 0; d < rank; ++d)
    if (pads[d] + pads[d + rank] > 0)
      x = at::index_select(x, d, padded_indices(x.size(d), pads[d], pads[d + rank], mode == "reflect"));
  return {x};
});

}  // namespace
}  // namespace espalier::pad_kernel
