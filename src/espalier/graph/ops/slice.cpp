// Slice with constant bounds: integer lists `axes`, `starts`, `ends` and, optional, `steps`, of equal lengths, as in
// ONNX.
#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/graph/ops/slice_indices.h"

namespace espalier::slice_op {
namespace {

struct AxisSlice {
  size_t axis;
  std::vector<int64_t> indices;
};

std::vector<AxisSlice> slices_of(const NodeView& view) {
  const auto &axes = view.node().integers("axes"), &starts = view.node().integers("starts"),
             &ends = view.node().integers("ends");
  const auto steps = view.node().integers_or("steps", std::vector<int64_t>(axes.size(), 1));
  if (starts.size() != axes.size() || ends.size() != axes.size() || steps.size() != axes.size())
    throw UserError(view.node().name, "starts, ends and steps", fmt::format("{} numbers each", axes.size()),
                    fmt::format("{}, {} and {}", starts.size(), ends.size(), steps.size()));
  std::vector<AxisSlice> slices;
  std::vector<uint8_t> seen(view.input(0).size(), 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = checked_axis(view, axes[i], view.input(0).size());
    if (seen[axis]++) throw UserError(view.node().name, "axes", "each axis once", fmt::format("{} twice", axis));
    if (steps[i] == 0) throw UserError(view.node().name, "steps", "numbers other than 0", "0");
    slices.push_back({axis, slice_indices(view.input(0)[axis], starts[i], ends[i], steps[i])});
  }
  return slices;
}

std::vector<Shape> infer(const NodeView& view) {
  Shape shape = view.input(0);
  for (const auto& slice : slices_of(view)) shape[slice.axis] = static_cast<int64_t>(slice.indices.size());
  return {shape};
}

Cost cost(const NodeView&) { return {}; }

// Several axes at once: one may be live and is picked from; the others are dead, so their indices do not matter.
void couple(Coupler& coupler, const NodeView& view) {
  const auto slices = slices_of(view);
  const AxisSlice* live = nullptr;
  for (const auto& slice : slices) {
    const bool whole = static_cast<int64_t>(slice.indices.size()) == view.input(0)[slice.axis];
    if (slices.size() == 1) {
      live = &slice;
    } else if (!coupler.input(0, static_cast<int>(slice.axis)).empty()) {
      if (live && !whole) coupler.freeze(coupler.input(0, static_cast<int>(slice.axis)));
      if (!live) live = &slice;
    }
  }
  if (!live) {
    for (int d = 0; d < static_cast<int>(view.input(0).size()); ++d)
      if (view.input(0)[static_cast<size_t>(d)] == view.output(0)[static_cast<size_t>(d)])
        coupler.set_output(0, d, coupler.input(0, d));
    return;
  }
  coupler.pick(0, static_cast<int>(live->axis), live->indices);
  coupler.addresses(static_cast<int>(live->axis), live->indices);
  for (const auto& slice : slices)
    if (&slice != live) {
      const Atoms atoms = coupler.input(0, static_cast<int>(slice.axis));
      Atoms chosen;
      for (int64_t index : slice.indices)
        if (!atoms.empty()) chosen.push_back(atoms[static_cast<size_t>(index)]);
      coupler.set_output(0, static_cast<int>(slice.axis), std::move(chosen));
    }
}

const RegisterOperator registered({"Slice", infer, cost, couple});

}  // namespace
}  // namespace espalier::slice_op
