// Rules of reductions. Attributes: `axes` (none: all), `keepdims` (default true). Live axes that are reduced are
// frozen.
#pragma once

#include "espalier/graph/operator.h"

namespace espalier {

inline std::vector<uint8_t> reduced_axes(const NodeView& view) {
  const size_t rank = view.input(0).size();
  const auto axes = view.node().integers_or("axes", {});
  std::vector<uint8_t> reduced(rank, axes.empty());
  for (int64_t axis : axes) reduced[checked_axis(view, axis, rank)] = 1;
  return reduced;
}

inline std::vector<Shape> infer_reduce(const NodeView& view) {
  const auto reduced = reduced_axes(view);
  const bool keep = view.node().flag_or("keepdims", true);
  Shape shape;
  for (size_t d = 0; d < reduced.size(); ++d)
    if (!reduced[d] || keep) shape.push_back(reduced[d] ? 1 : view.input(0)[d]);
  return {shape};
}

inline Cost cost_reduce(const NodeView& view) { return {static_cast<double>(element_count(view.input(0))), 0}; }

inline void couple_reduce(Coupler& coupler, const NodeView& view) {
  const auto reduced = reduced_axes(view);
  const bool keep = view.node().flag_or("keepdims", true);
  int to = 0;
  for (size_t d = 0; d < reduced.size(); ++d) {
    const Atoms& atoms = coupler.input(0, static_cast<int>(d));
    if (reduced[d]) coupler.freeze(atoms);
    if (!reduced[d]) coupler.set_output(0, to, atoms);
    if (!reduced[d] || keep) ++to;
  }
}

}  // namespace espalier
