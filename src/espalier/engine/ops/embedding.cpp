// Rows of tables: Embedding by ids, PositionEmbedding by place.
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/engine/ops/lowering.h"

namespace espalier {
namespace {

void lower_embedding(Lowering& l) {
  const View ids = l.contiguous(l.as_type(l.input(0), DType::kI64));
  const Tensor table = l.param("weight");
  const int64_t rows = table.dim(0), width = table.dim(1);
  const View y = l.make(DType::kF32, l.output_shape());
  l.step({ids}, {y}, [table, rows, width, count = ids.count(), name = l.node().name](const StepPointers& p) {
    const int64_t* id = p.input<int64_t>(0);
    const std::byte* from = table.bytes();
    const size_t bytes = static_cast<size_t>(width) * sizeof(float);
    for (int64_t i = 0; i < count; ++i) {
      if (id[i] < 0 || id[i] >= rows)
        throw UserError(name, "id", fmt::format("0 to {}", rows - 1), fmt::format("{}", id[i]));
      std::memcpy(p.out[0] + static_cast<size_t>(i) * bytes, from + static_cast<size_t>(id[i]) * bytes, bytes);
    }
  });
  l.set_output(0, y);
}
const RegisterLowering embedding("Embedding", lower_embedding);

const RegisterLowering position_embedding("PositionEmbedding", [](Lowering& l) {
  View rows = l.constant(l.param("weight"));
  rows.offset = l.node().integer_or("offset", 0) * rows.strides[0];
  rows.shape = l.output_shape();
  rows.strides = {0, rows.strides[0], 1};
  l.set_output(0, rows);
});

}  // namespace
}  // namespace espalier
