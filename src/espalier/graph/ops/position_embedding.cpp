// PositionEmbedding: ids [batch, tokens] → rows `offset` + 0, 1, … of `weight` [positions, width] (learned positions).
#include "espalier/core/error.h"
#include "espalier/graph/ops/table_rules.h"

namespace espalier::position_embedding_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  const int64_t positions = view.param("weight").at(0) - view.node().integer_or("offset", 0);
  if (shape.back() > positions)
    user_error("{}: {} tokens, but the model has {} positions", view.node().name, shape.back(), positions);
  shape.push_back(view.param("weight").at(1));
  return {shape};
}

const RegisterOperator registered({"PositionEmbedding", infer, lookup_cost, couple_table});

}  // namespace
}  // namespace espalier::position_embedding_op
