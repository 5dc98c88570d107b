// PositionEmbedding: ids [batch, tokens] → rows `offset` + 0, 1, … of `weight` [positions, width] (learned positions).
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  const int64_t positions = view.param("weight").at(0) - view.node().integer_or("offset", 0);
  if (shape.back() > positions)
    user_error("{}: {} tokens, but the model has {} positions", view.node().name, shape.back(), positions);
  shape.push_back(view.param("weight").at(1));
  return {shape};
}

Cost cost(const NodeView& view) {
  const double tokens = static_cast<double>(element_count(view.input(0)));
  return {0, view.param_bytes() / static_cast<double>(view.param("weight")[0]) * tokens};
}

void couple(Coupler& coupler, const NodeView&) {
  coupler.freeze(coupler.param("weight", 0));
  coupler.set_output(0, -1, coupler.param("weight", 1));
}

const RegisterOperator registered({"PositionEmbedding", infer, cost, couple});

}  // namespace
}  // namespace espalier
