#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::embedding_kernel {
namespace {
const RegisterKernel registered("Embedding", [](const KernelContext& c) -> std::vector<at::Tensor> {
  return {at::embedding(c.param("weight"), c.inputs[0])};
});
}  // namespace
}  // namespace espalier::embedding_kernel
