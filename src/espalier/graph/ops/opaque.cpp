// Opaque: an operator that is not understood. It keeps its name (`op_type`) and the shape of each output
// (`shape.0`, `shape.1`, …) as they were given, freezes whatever it touches, and cannot be run.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::opaque_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  std::vector<Shape> shapes;
  for (size_t i = 0; i < view.node().outputs.size(); ++i)
    shapes.push_back(view.node().integers(fmt::format("shape.{}", i)));
  return shapes;
}

Cost cost(const NodeView& view) { return {0, view.param_bytes()}; }
void couple(Coupler& coupler, const NodeView&) { coupler.freeze_everything(); }

const RegisterOperator registered({"Opaque", infer, cost, couple});

}  // namespace
}  // namespace espalier::opaque_op
