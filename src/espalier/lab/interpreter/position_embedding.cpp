#include "espalier/core/error.h"
#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::position_embedding_kernel {
namespace {
const RegisterKernel registered("PositionEmbedding", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const at::Tensor weight = c.param("weight"), &ids = c.inputs[0];
  const int64_t first = c.node.integer("offset") + c.position, tokens = ids.size(1);
  if (first + tokens > weight.size(0))
    user_error("{}: {} tokens, but the model has {} positions", c.node.name, c.position + tokens,
               weight.size(0) - c.node.integer("offset"));
  return {weight.narrow(0, first, tokens).unsqueeze(0).expand({ids.size(0), tokens, weight.size(1)})};
});
}  // namespace
}  // namespace espalier::position_embedding_kernel
