// Tile: the whole of dim i `repeats[i]` times after itself. Index v of the output takes index v mod size.
#include "espalier/core/error.h"
#include "espalier/graph/ops/window_rules.h"

namespace espalier::tile_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  const auto& repeats = view.node().integers("repeats");
  check_entries(view, "repeats", repeats, shape.size(), 0);
  for (size_t d = 0; d < shape.size(); ++d) shape[d] = size_product(view, shape[d], repeats[d]);
  return {shape};
}

Cost cost(const NodeView&) { return {}; }

void couple(Coupler& coupler, const NodeView& view) {
  for (int d = 0; d < static_cast<int>(view.input(0).size()); ++d) {
    const Atoms& from = coupler.input(0, d);
    Atoms atoms(from.empty() ? 0 : static_cast<size_t>(view.output(0)[static_cast<size_t>(d)]));
    for (size_t v = 0; v < atoms.size(); ++v) atoms[v] = from[v % from.size()];
    coupler.set_output(0, d, std::move(atoms));
  }
}

const RegisterOperator registered({"Tile", infer, cost, couple});

}  // namespace
}  // namespace espalier::tile_op
