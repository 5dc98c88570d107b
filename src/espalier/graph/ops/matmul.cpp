// MatMul of two values: [… m, k] · [… k, n] → [… m, n]; the dims before broadcast. A weight comes in as a Constant or,
// better, the whole is a Linear.
#include "espalier/core/error.h"
#include "espalier/graph/ops/broadcast_rules.h"

namespace espalier::matmul_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const Shape &a = view.input(0), &b = view.input(1);
  check_rank(view, a, 2, 16);
  check_rank(view, b, 2, 16);
  if (a.back() != b[b.size() - 2]) shape_mismatch(view, "second input", fmt::format("{} rows", a.back()), b);
  const Shape &longer = a.size() >= b.size() ? a : b, &shorter = a.size() >= b.size() ? b : a;
  Shape shape = longer;
  for (size_t d = 2; d < shorter.size(); ++d) {
    int64_t& size = shape[longer.size() - 1 - d];
    const int64_t other = shorter[shorter.size() - 1 - d];
    if (size != other && size != 1 && other != 1) shape_mismatch(view, "second input", to_string(a), b);
    if (size == 1) size = other;
  }
  shape[shape.size() - 2] = a[a.size() - 2];
  shape.back() = b.back();
  return {shape};
}

Cost cost(const NodeView& view) {
  return {2.0 * static_cast<double>(element_count(view.output(0))) * static_cast<double>(view.input(0).back()), 0};
}

void couple(Coupler& coupler, const NodeView& view) {
  couple_broadcast(coupler, view, 2);
  coupler.tie_all(coupler.input(0, -1), coupler.input(1, -2));
  coupler.set_output(0, -2, coupler.input(0, -2));
  coupler.set_output(0, -1, coupler.input(1, -1));
}

const RegisterOperator registered({"MatMul", infer, cost, couple});

}  // namespace
}  // namespace espalier::matmul_op
