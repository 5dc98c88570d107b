// Reshape to the attribute `shape`: 0 copies the input's dim, one −1 takes what is left, as in ONNX. Surgery rewrites
// entries that are the size of a live dim.
#include "espalier/core/checked.h"
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::reshape_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const Shape& x = view.input(0);
  Shape shape = view.node().integers("shape");
  std::optional<uint64_t> known = 1;
  int64_t* open = nullptr;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0 && d < x.size()) shape[d] = x[d];
    if (shape[d] < -1 || (shape[d] == -1 && open))
      throw UserError(view.node().name, "shape", "sizes and at most one -1",
                      fmt::format("[{}]", fmt::join(view.node().integers("shape"), ", ")));
    if (shape[d] == -1) {
      open = &shape[d];
    } else {
      known = known ? checked_mul(*known, static_cast<uint64_t>(shape[d])) : known;
    }
  }
  const auto count = static_cast<uint64_t>(element_count(x));
  const bool fits = known && (open ? *known > 0 && count % *known == 0 : *known == count);
  if (!fits)
    shape_mismatch(view, "input",
                   fmt::format("as many elements as [{}]", fmt::join(view.node().integers("shape"), ", ")), x);
  if (open) *open = static_cast<int64_t>(count / *known);
  return {shape};
}

Cost cost(const NodeView&) { return {}; }
void couple(Coupler& coupler, const NodeView&) { coupler.reshape("shape"); }

const RegisterOperator registered({"Reshape", infer, cost, couple});

}  // namespace
}  // namespace espalier::reshape_op
