// numpy's broadcasting: dims are aligned from the last one, and sizes of 1 stretch.
#pragma once

#include "espalier/graph/operator.h"

namespace espalier {

// Shape of all inputs together; UserError naming the node when they do not fit.
inline Shape broadcast_inputs(const NodeView& view) {
  Shape shape = view.input(0);
  for (size_t i = 1; i < view.node().inputs.size(); ++i) {
    const Shape& other = view.input(i);
    const Shape before = shape;
    if (other.size() > shape.size()) shape.insert(shape.begin(), other.size() - shape.size(), 1);
    for (size_t d = 0; d < other.size(); ++d) {
      int64_t& size = shape[shape.size() - other.size() + d];
      if (size != other[d] && size != 1 && other[d] != 1)
        shape_mismatch(view, i == 1 ? "second input" : "third input", to_string(before), other);
      if (size == 1) size = other[d];
    }
  }
  return shape;
}

// Aligned dims of equal size above 1 tie; a live one met by a dead one is frozen, and what comes out is dead. Dims of
// size 1 pass the other side's atoms on. The last `skip` dims of inputs and output are left alone.
inline void couple_broadcast(Coupler& coupler, const NodeView& view, size_t skip = 0) {
  const Shape& out = view.output(0);
  for (int axis = static_cast<int>(skip) + 1; axis <= static_cast<int>(out.size()); ++axis) {
    const int64_t size = out[out.size() - static_cast<size_t>(axis)];
    Atoms atoms;
    bool dead = false;
    for (size_t i = 0; i < view.node().inputs.size(); ++i) {
      const Shape& shape = view.input(i);
      if (axis > static_cast<int>(shape.size()) || shape[shape.size() - static_cast<size_t>(axis)] != size) continue;
      const Atoms& own = coupler.input(i, -axis);
      if (own.empty()) dead = true;
      if (atoms.empty()) {
        atoms = own;
      } else if (!own.empty() && size > 1) {
        coupler.tie_all(atoms, own);
      }
    }
    if (dead && size > 1) {
      coupler.freeze(atoms);
      atoms.clear();
    }
    coupler.set_output(0, -axis, std::move(atoms));
  }
}

}  // namespace espalier
