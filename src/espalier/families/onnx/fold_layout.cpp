// Folding of operators that move, repeat or pick elements.
#include <algorithm>
#include <numeric>

#include "espalier/families/onnx/fold.h"
#include "espalier/graph/ops/slice_indices.h"

namespace espalier::fold_layout {
namespace {

std::vector<Known> reshaped(const Known& x, Shape shape) {
  if (count_of(shape) != static_cast<int64_t>(x.count())) return {};
  Known out = x;
  out.shape = std::move(shape);
  return {std::move(out)};
}

std::vector<Known> identity(const FoldCall& call) {
  return call.has(0) ? std::vector<Known>{call.input(0)} : std::vector<Known>{};
}

std::vector<Known> reshape(const FoldCall& call) {
  if (!call.has(0) || !call.has(1)) return {};
  const Known& x = call.input(0);
  Shape shape = call.input(1).ints;
  const bool zero_is_zero = call.integer("allowzero", 0) != 0;
  int64_t known = 1, open = -1;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0 && !zero_is_zero) {
      if (d >= x.shape.size()) return {};
      shape[d] = x.shape[d];
    }
    if (shape[d] < -1 || shape[d] > kMostKnown || (shape[d] == -1 && open >= 0)) return {};
    if (shape[d] == -1) {
      open = static_cast<int64_t>(d);
    } else if ((known *= shape[d]) > kMostKnown) {
      return {};
    }
  }
  if (open >= 0) {
    if (known == 0) return {};
    shape[static_cast<size_t>(open)] = static_cast<int64_t>(x.count()) / known;
  }
  return reshaped(x, std::move(shape));
}

std::vector<Known> flatten(const FoldCall& call) {
  if (!call.has(0)) return {};
  const Known& x = call.input(0);
  int64_t axis = call.integer("axis", 1);
  const auto rank = static_cast<int64_t>(x.shape.size());
  if (axis < -rank || axis > rank) return {};
  if (axis < 0) axis += rank;
  const int64_t outer = std::accumulate(x.shape.begin(), x.shape.begin() + axis, int64_t{1}, std::multiplies<>());
  return reshaped(x, {outer, outer == 0 ? 0 : static_cast<int64_t>(x.count()) / outer});
}

std::vector<Known> squeeze(const FoldCall& call) {
  if (!call.has(0)) return {};
  const Known& x = call.input(0);
  const auto axes = call.integers(1, "axes");
  std::vector<uint8_t> gone(x.shape.size(), 0);
  for (size_t d = 0; axes.empty() && d < gone.size(); ++d) gone[d] = x.shape[d] == 1;
  for (int64_t axis : axes) {
    if (!normalise_axis(axis, x.shape.size()) || x.shape[static_cast<size_t>(axis)] != 1) return {};
    gone[static_cast<size_t>(axis)] = 1;
  }
  Shape shape;
  for (size_t d = 0; d < gone.size(); ++d)
    if (!gone[d]) shape.push_back(x.shape[d]);
  return reshaped(x, std::move(shape));
}

std::vector<Known> unsqueeze(const FoldCall& call) {
  if (!call.has(0)) return {};
  const Known& x = call.input(0);
  const auto axes = call.integers(1, "axes");
  std::vector<uint8_t> fresh(x.shape.size() + axes.size(), 0);
  if (fresh.size() > 32) return {};
  for (int64_t axis : axes)
    if (!normalise_axis(axis, fresh.size()) || fresh[static_cast<size_t>(axis)]++) return {};
  Shape shape;
  size_t next = 0;
  for (uint8_t is_fresh : fresh) shape.push_back(is_fresh ? 1 : x.shape[next++]);
  return reshaped(x, std::move(shape));
}

std::vector<Known> transpose(const FoldCall& call) {
  if (!call.has(0)) return {};
  const Known& x = call.input(0);
  auto perm = call.integers(std::string::npos, "perm");
  if (perm.empty())
    for (size_t d = x.shape.size(); d-- > 0;) perm.push_back(static_cast<int64_t>(d));
  Shape sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  for (size_t d = 0; d < sorted.size(); ++d)
    if (sorted[d] != static_cast<int64_t>(d)) return {};
  if (perm.size() != x.shape.size()) return {};
  Shape shape, strides;
  const Shape from = strides_of(x.shape);
  for (int64_t axis : perm) {
    shape.push_back(x.shape[static_cast<size_t>(axis)]);
    strides.push_back(from[static_cast<size_t>(axis)]);
  }
  Known out = empty_like(x, shape);
  for_each_index(shape, [&](int64_t, const Shape& at) {
    append(out, x, static_cast<size_t>(std::inner_product(at.begin(), at.end(), strides.begin(), int64_t{0})));
  });
  return {std::move(out)};
}

// The chosen indices of an axis, in this order.
Known picked(const Known& x, size_t axis, const std::vector<int64_t>& indices) {
  Shape shape = x.shape;
  shape[axis] = std::ssize(indices);
  const Shape strides = strides_of(x.shape);
  Known out = empty_like(x, shape);
  for_each_index(shape, [&](int64_t, const Shape& at) {
    int64_t from = 0;
    for (size_t d = 0; d < at.size(); ++d)
      from += strides[d] * (d == axis ? indices[static_cast<size_t>(at[d])] : at[d]);
    append(out, x, static_cast<size_t>(from));
  });
  return out;
}

std::vector<Known> slice(const FoldCall& call) {
  if (!call.has(0)) return {};
  Known x = call.input(0);
  const auto starts = call.integers(1, "starts"), ends = call.integers(2, "ends"), steps = call.integers(4, "steps");
  auto axes = call.integers(3, "axes");
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  if (ends.size() != starts.size() || axes.size() != starts.size() || (!steps.empty() && steps.size() != starts.size()))
    return {};
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t step = steps.empty() ? 1 : steps[i];
    if (!normalise_axis(axes[i], x.shape.size()) || step == 0) return {};
    const auto axis = static_cast<size_t>(axes[i]);
    x = picked(x, axis, slice_indices(x.shape[axis], starts[i], ends[i], step));
  }
  return {std::move(x)};
}

std::vector<Known> gather(const FoldCall& call) {
  if (!call.has(0) || !call.has(1) || call.input(1).real()) return {};
  const Known &x = call.input(0), &chosen = call.input(1);
  int64_t axis = call.integer("axis", 0);
  if (!normalise_axis(axis, x.shape.size())) return {};
  const int64_t size = x.shape[static_cast<size_t>(axis)];
  std::vector<int64_t> indices = chosen.ints;
  for (int64_t& index : indices) {
    if (index < -size || index >= size) return {};
    if (index < 0) index += size;
  }
  Shape shape = x.shape;
  shape[static_cast<size_t>(axis)] = std::ssize(indices);
  if (count_of(shape) < 0) return {};
  Known out = picked(x, static_cast<size_t>(axis), indices);
  out.shape.erase(out.shape.begin() + axis);
  out.shape.insert(out.shape.begin() + axis, chosen.shape.begin(), chosen.shape.end());
  return {std::move(out)};
}

// Where a row of index numbers points to in x; −1: out of range.
int64_t place_of(const Known& x, const Shape& strides, const int64_t* row, size_t length) {
  int64_t place = 0;
  for (size_t d = 0; d < length; ++d) {
    const int64_t size = x.shape[d], index = row[d] < 0 ? row[d] + size : row[d];
    if (index < 0 || index >= size) return -1;
    place += index * strides[d];
  }
  return place;
}

// Elements that follow a row of `length` index numbers.
int64_t tail_count(const Known& x, size_t length) {
  return std::accumulate(x.shape.begin() + static_cast<int64_t>(length), x.shape.end(), int64_t{1},
                         std::multiplies<>());
}

std::vector<Known> gather_nd(const FoldCall& call) {
  if (!call.has(0) || !call.has(1) || call.integer("batch_dims", 0) != 0) return {};
  const Known &x = call.input(0), &rows = call.input(1);
  if (rows.real() || rows.shape.empty() || rows.shape.back() < 1 || rows.shape.back() > std::ssize(x.shape)) return {};
  const auto length = static_cast<size_t>(rows.shape.back());
  Shape shape(rows.shape.begin(), rows.shape.end() - 1);
  shape.insert(shape.end(), x.shape.begin() + static_cast<int64_t>(length), x.shape.end());
  if (count_of(shape) < 0) return {};
  const Shape strides = strides_of(x.shape);
  Known out = empty_like(x, shape);
  const int64_t tail = tail_count(x, length);
  for (size_t row = 0; row < rows.ints.size(); row += length) {
    const int64_t place = place_of(x, strides, &rows.ints[row], length);
    if (place < 0) return {};
    for (int64_t i = 0; i < tail; ++i) append(out, x, static_cast<size_t>(place + i));
  }
  return {std::move(out)};
}

std::vector<Known> scatter_nd(const FoldCall& call) {
  if (!call.has(0) || !call.has(1) || !call.has(2)) return {};
  const Known &x = call.input(0), &rows = call.input(1), &updates = call.input(2);
  for (const OnnxAttribute& attribute : call.node.attributes)
    if (attribute.name == "reduction" && attribute.s != "none") return {};
  if (rows.real() || rows.shape.empty() || rows.shape.back() < 1 || rows.shape.back() > std::ssize(x.shape) ||
      updates.real() != x.real())
    return {};
  const auto length = static_cast<size_t>(rows.shape.back());
  const auto tail = static_cast<size_t>(tail_count(x, length));
  if (updates.count() != rows.ints.size() / length * tail) return {};
  const Shape strides = strides_of(x.shape);
  Known out = x;
  for (size_t row = 0; row * length < rows.ints.size(); ++row) {
    const int64_t place = place_of(x, strides, &rows.ints[row * length], length);
    if (place < 0) return {};
    for (size_t i = 0; i < tail; ++i) {
      const size_t to = static_cast<size_t>(place) + i, from = row * tail + i;
      if (x.real()) out.reals[to] = updates.reals[from];
      if (!x.real()) out.ints[to] = updates.ints[from];
    }
  }
  return {std::move(out)};
}

std::vector<Known> concat(const FoldCall& call) {
  if (!call.has(0)) return {};
  const Known& first = call.input(0);
  int64_t axis = call.integer("axis", 0);
  if (!normalise_axis(axis, first.shape.size())) return {};
  const auto at = static_cast<size_t>(axis);
  Shape shape = first.shape;
  shape[at] = 0;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (!call.has(i) || call.input(i).type != first.type || call.input(i).shape.size() != shape.size()) return {};
    Shape other = call.input(i).shape;
    shape[at] += other[at];
    other[at] = shape[at];
    if (other != shape) return {};
  }
  if (count_of(shape) < 0) return {};
  const int64_t outer = std::accumulate(shape.begin(), shape.begin() + axis, int64_t{1}, std::multiplies<>());
  Known out = empty_like(first, shape);
  for (int64_t o = 0; o < outer; ++o)
    for (size_t i = 0; i < call.inputs.size(); ++i) {
      const size_t run = call.input(i).count() / static_cast<size_t>(outer);
      for (size_t j = 0; j < run; ++j) append(out, call.input(i), static_cast<size_t>(o) * run + j);
    }
  return {std::move(out)};
}

std::vector<Known> split(const FoldCall& call) {
  if (!call.has(0)) return {};
  const Known& x = call.input(0);
  int64_t axis = call.integer("axis", 0);
  if (!normalise_axis(axis, x.shape.size())) return {};
  const int64_t size = x.shape[static_cast<size_t>(axis)], parts = std::ssize(call.node.outputs);
  std::vector<int64_t> sizes = call.integers(1, "split");
  if (sizes.empty() && parts > 0)
    for (int64_t i = 0, each = (size + parts - 1) / parts; i < parts; ++i)
      sizes.push_back(std::clamp<int64_t>(size - i * each, 0, each));
  if (std::ssize(sizes) != parts) return {};
  std::vector<Known> outputs;
  int64_t from = 0;
  for (int64_t part : sizes) {
    if (part < 0 || part > size - from) return {};
    std::vector<int64_t> indices(static_cast<size_t>(part));
    std::iota(indices.begin(), indices.end(), from);
    outputs.push_back(picked(x, static_cast<size_t>(axis), indices));
    from += part;
  }
  return outputs;
}

std::vector<Known> expand(const FoldCall& call) {
  if (!call.has(0) || !call.has(1)) return {};
  const Known& x = call.input(0);
  Shape shape;
  if (!broadcast_shapes(x.shape, call.input(1).ints, shape) || count_of(shape) < 0) return {};
  const Shape strides = strides_of(x.shape);
  Known out = empty_like(x, shape);
  for_each_index(shape, [&](int64_t, const Shape& at) {
    append(out, x, static_cast<size_t>(broadcast_index(at, x.shape, strides)));
  });
  return {std::move(out)};
}

std::vector<Known> tile(const FoldCall& call) {
  if (!call.has(0) || !call.has(1)) return {};
  const Known& x = call.input(0);
  const auto& repeats = call.input(1).ints;
  if (repeats.size() != x.shape.size()) return {};
  Shape shape;
  for (size_t d = 0; d < repeats.size(); ++d) {
    if (repeats[d] < 0 || repeats[d] > kMostKnown) return {};
    shape.push_back(x.shape[d] * repeats[d]);
  }
  if (count_of(shape) < 0) return {};
  const Shape strides = strides_of(x.shape);
  Known out = empty_like(x, shape);
  for_each_index(shape, [&](int64_t, const Shape& at) {
    int64_t from = 0;
    for (size_t d = 0; d < at.size(); ++d) from += at[d] % x.shape[d] * strides[d];
    append(out, x, static_cast<size_t>(from));
  });
  return {std::move(out)};
}

std::vector<Known> trilu(const FoldCall& call) {
  if (!call.has(0) || call.input(0).shape.size() < 2) return {};
  const bool upper = call.integer("upper", 1) != 0;
  const int64_t k = call.has(1) && call.input(1).ints.size() == 1 ? call.input(1).ints[0] : 0;
  Known out = call.input(0);
  for_each_index(out.shape, [&](int64_t i, const Shape& at) {
    const int64_t offset = at.back() - at[at.size() - 2];
    if (upper ? offset >= k : offset <= k) return;
    if (out.real()) out.reals[static_cast<size_t>(i)] = 0;
    if (!out.real()) out.ints[static_cast<size_t>(i)] = 0;
  });
  return {std::move(out)};
}

const RegisterFolder registered[] = {
    {"Identity", identity},   {"Dropout", identity},     {"Reshape", reshape},
    {"Flatten", flatten},     {"Squeeze", squeeze},      {"Unsqueeze", unsqueeze},
    {"Transpose", transpose}, {"Slice", slice},          {"Gather", gather},
    {"GatherND", gather_nd},  {"ScatterND", scatter_nd}, {"Concat", concat},
    {"Split", split},         {"Expand", expand},        {"Tile", tile},
    {"Trilu", trilu},
};

}  // namespace
}  // namespace espalier::fold_layout
