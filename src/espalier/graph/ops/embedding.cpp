// Embedding: ids [batch, tokens] → rows of `weight` [vocab, width]. The vocabulary is never cut.
#include "espalier/graph/ops/table_rules.h"

namespace espalier::embedding_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  shape.push_back(view.param("weight").at(1));
  return {shape};
}

const RegisterOperator registered({"Embedding", infer, lookup_cost, couple_table});

}  // namespace
}  // namespace espalier::embedding_op
