// Embedding: ids [batch, tokens] → rows of `weight` [vocab, width]. The vocabulary is never cut.
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  shape.push_back(view.param("weight").at(1));
  return {shape};
}

// A lookup reads one row a token.
Cost cost(const NodeView& view) {
  const double tokens = static_cast<double>(element_count(view.input(0)));
  return {0, view.param_bytes() / static_cast<double>(view.param("weight")[0]) * tokens};
}

void couple(Coupler& coupler, const NodeView&) {
  coupler.freeze(coupler.param("weight", 0));
  coupler.set_output(0, -1, coupler.param("weight", 1));
}

const RegisterOperator registered({"Embedding", infer, cost, couple});

}  // namespace
}  // namespace espalier
