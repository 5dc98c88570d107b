#include "espalier/lab/measure/nonzero.h"

#include "espalier/graph/node_kinds.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {

int64_t nonzero_count(const Graph& graph) {
  const auto statistics = statistics_of(graph);
  int64_t count = 0;
  for (const auto& parameter : graph.parameters())
    if (!statistics.count(parameter->name())) count += at::count_nonzero(to_torch(parameter->load())).item<int64_t>();
  return count;
}

}  // namespace espalier
