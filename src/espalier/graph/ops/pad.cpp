// Pad: `pads` holds all begins, then all ends, one entry a dim, none negative. Attributes: `mode` constant (default),
// reflect or edge; `value` (real, default 0). Positions put before and after a live axis are frozen.
#include "espalier/core/error.h"
#include "espalier/graph/ops/window_rules.h"

namespace espalier::pad_op {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  const auto& pads = view.node().integers("pads");
  check_entries(view, "pads", pads, 2 * shape.size(), 0);
  const std::string mode = view.node().text_or("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge")
    throw UserError(view.node().name, "mode", "constant, reflect or edge", printable(mode));
  for (size_t d = 0; d < shape.size(); ++d) {
    const int64_t most = std::max(pads[d], pads[d + shape.size()]);
    if ((mode == "reflect" && most >= shape[d] && most > 0) || (mode == "edge" && shape[d] == 0))
      throw UserError(view.node().name, "pads", fmt::format("less than the size {}", shape[d]),
                      fmt::format("{}", most));
    shape[d] += pads[d] + pads[d + shape.size()];
  }
  return {shape};
}

Cost cost(const NodeView&) { return {}; }

void couple(Coupler& coupler, const NodeView& view) {
  const size_t rank = view.input(0).size();
  const auto& pads = view.node().integers("pads");
  const bool copies = view.node().text_or("mode", "constant") != "constant";
  for (size_t d = 0; d < rank; ++d) {
    Atoms atoms = coupler.input(0, static_cast<int>(d));
    if (!atoms.empty() && pads[d] + pads[d + rank] > 0) {
      if (copies) coupler.freeze(atoms);
      const Atoms before = coupler.fresh_frozen(static_cast<size_t>(pads[d]));
      const Atoms after = coupler.fresh_frozen(static_cast<size_t>(pads[d + rank]));
      atoms.insert(atoms.begin(), before.begin(), before.end());
      atoms.insert(atoms.end(), after.begin(), after.end());
    }
    coupler.set_output(0, static_cast<int>(d), std::move(atoms));
  }
}

const RegisterOperator registered({"Pad", infer, cost, couple});

}  // namespace
}  // namespace espalier::pad_op
