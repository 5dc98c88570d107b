#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::tile_kernel {
namespace {
const RegisterKernel registered("Tile", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {c.inputs[0].repeat(c.node.integers("repeats"))};
});
}  // namespace
}  // namespace espalier::tile_kernel
