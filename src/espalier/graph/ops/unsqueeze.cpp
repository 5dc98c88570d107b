// Unsqueeze: puts dims of size 1 at `axes` of the output.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::unsqueeze_op {
namespace {

// Of each output dim its input dim, −1: new.
std::vector<int> sources(const NodeView& view) {
  const auto& axes = view.node().integers("axes");
  std::vector<int> dims(view.input(0).size() + axes.size(), 0);
  for (int64_t given : axes) {
    int& dim = dims[checked_axis(view, given, dims.size())];
    if (dim < 0) throw UserError(view.node().name, "axes", "each axis once", fmt::format("{} twice", given));
    dim = -1;
  }
  int next = 0;
  for (int& dim : dims)
    if (dim == 0) dim = next++;
  return dims;
}

std::vector<Shape> infer(const NodeView& view) {
  Shape shape;
  for (int dim : sources(view)) shape.push_back(dim < 0 ? 1 : view.input(0)[static_cast<size_t>(dim)]);
  return {shape};
}

Cost cost(const NodeView&) { return {}; }
void couple(Coupler& coupler, const NodeView& view) { coupler.map_dims(sources(view)); }

const RegisterOperator registered({"Unsqueeze", infer, cost, couple});

}  // namespace
}  // namespace espalier::unsqueeze_op
