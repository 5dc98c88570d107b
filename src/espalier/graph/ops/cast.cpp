// Cast to the attribute `to`: float, int64 or bool. All floating types are fp32 here.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::cast_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const std::string to = view.node().text("to");
  if (to != "float" && to != "int64" && to != "bool")
    throw UserError(view.node().name, "to", "float, int64 or bool", printable(to));
  return {view.input(0)};
}

Cost cost(const NodeView&) { return {}; }
void couple(Coupler& coupler, const NodeView&) { coupler.pass_through(); }

const RegisterOperator registered({"Cast", infer, cost, couple});

}  // namespace
}  // namespace espalier::cast_op
