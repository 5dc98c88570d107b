// Expand: broadcasts the input with the attribute `shape`, as ONNX does (an entry of 1 keeps the input's size). Surgery
// rewrites entries that are the size of a live dim. A stretched dim is dead; Repeat and a Reshape after it follow.
// An optional second input lends the size of its dim 0, the batch, to dim 0 of the output, whose own size is 1.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier::expand_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const auto& wanted = view.node().integers("shape");
  Shape shape = view.input(0);
  if (wanted.size() > shape.size()) shape.insert(shape.begin(), wanted.size() - shape.size(), 1);
  for (size_t d = 0; d < wanted.size(); ++d) {
    int64_t& size = shape[shape.size() - wanted.size() + d];
    if (size != wanted[d] && size != 1 && wanted[d] != 1)
      shape_mismatch(view, "input", fmt::format("one that broadcasts with [{}]", fmt::join(wanted, ", ")),
                     view.input(0));
    if (size == 1) size = wanted[d];
  }
  if (view.node().inputs.size() > 1) {
    check_rank(view, view.input(1), 1, 16);
    if (shape.empty() || shape[0] != 1) shape_mismatch(view, "dim 0", "1, as the batch replaces it", shape);
    shape[0] = view.input(1)[0];
  }
  return {shape};
}

Cost cost(const NodeView&) { return {}; }

void couple(Coupler& coupler, const NodeView& view) {
  const Shape &in = view.input(0), &out = view.output(0);
  const auto& wanted = view.node().integers("shape");
  const size_t added = out.size() - in.size(), skipped = out.size() - wanted.size();
  std::vector<int> sources(out.size(), -1);
  for (size_t d = added; d < out.size(); ++d)
    if (in[d - added] == out[d]) sources[d] = static_cast<int>(d - added);
  coupler.map_dims(sources);
  for (size_t d = skipped; d < out.size(); ++d)
    if (wanted[d - skipped] == out[d]) coupler.count_output(0, static_cast<int>(d), "shape", d - skipped);
}

const RegisterOperator registered({"Expand", infer, cost, couple});

}  // namespace
}  // namespace espalier::expand_op
