// Split of the last dim into parts of the attribute `sizes` (packed QKV). Surgery rewrites the sizes.
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

std::vector<Shape> infer(const NodeView& view) {
  const auto& sizes = view.node().integers("sizes");
  const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  if (view.input(0).back() != total) shape_mismatch(view, "width", fmt::format("{}", total), view.input(0));
  std::vector<Shape> shapes(sizes.size(), view.input(0));
  for (size_t i = 0; i < sizes.size(); ++i) shapes[i].back() = sizes[i];
  return shapes;
}

Cost cost(const NodeView&) { return {}; }

void couple(Coupler& coupler, const NodeView& view) {
  const Atoms atoms = coupler.input(0, -1);
  auto from = atoms.begin();
  const auto& sizes = view.node().integers("sizes");
  for (size_t i = 0; i < sizes.size() && !atoms.empty(); ++i, from += sizes[i - 1]) {
    coupler.counts("sizes", i, Atoms(from, from + sizes[i]));
    coupler.set_output(i, -1, Atoms(from, from + sizes[i]));
  }
}

const RegisterOperator registered({"Split", infer, cost, couple});

}  // namespace
}  // namespace espalier
