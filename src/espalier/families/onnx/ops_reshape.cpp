// How a Reshape is written so that it holds for any batch.
//
// A dim that the batch scales is `outer` · batch · inner positions: merging [tokens, batch] gives a dim in which tokens
// come first. Importer::batch_outer() remembers that number, so that the dim is taken apart as it was put together.
#include <algorithm>
#include <functional>
#include <numeric>

#include "espalier/families/onnx/import_ops.h"

namespace espalier {
namespace {

int64_t product(const Shape& shape, size_t count) {
  return std::accumulate(shape.begin(), shape.begin() + static_cast<int64_t>(count), int64_t{1}, std::multiplies<>());
}

// ONNX's 0 and −1 put in; nothing where the elements do not come out.
std::optional<Shape> resolved(Shape shape, const Shape& x) {
  int64_t known = 1, open = -1;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0 && d < x.size()) shape[d] = x[d];
    if (shape[d] == -1) {
      if (open >= 0) return std::nullopt;
      open = static_cast<int64_t>(d);
    } else if (shape[d] < 0 || __builtin_mul_overflow(known, shape[d], &known)) {
      return std::nullopt;
    }
  }
  const int64_t count = element_count(x);
  if (open < 0) return known == count ? std::optional(shape) : std::nullopt;
  if (known == 0 || count % known != 0) return std::nullopt;
  shape[static_cast<size_t>(open)] = count / known;
  return shape;
}

// Where the batch ends up: in dim `dim` of the output, as the factor after `outer` others.
struct BatchPlace {
  size_t dim;
  int64_t outer;
};

// `before` positions come before the batch's factor. A batch of one at a boundary of output dims belongs to the next
// one (heads), unless that is the last: features are not counted by the batch, so it went into the rows before.
std::optional<BatchPlace> place_of_batch(const Shape& out, int64_t before, int64_t batch, size_t hint) {
  auto starts = [&](size_t d) { return d < out.size() && product(out, d) == before; };
  if (starts(hint) && out[hint] == batch) return BatchPlace{hint, 1};
  for (size_t d = 0; d < out.size(); ++d)
    if (starts(d) && out[d] == batch) return BatchPlace{d, 1};
  for (size_t d = 0; d < out.size(); ++d) {
    const int64_t left = product(out, d), through = left * out[d];
    if (left == 0 || left > before || through < before || before % left != 0) continue;
    const bool rows = batch == 1 && d + 2 == out.size() && before > left;
    if (through == before && !rows) continue;
    return BatchPlace{d, before / left};
  }
  return std::nullopt;
}

// The entry that the batch scales becomes 0 where the input has the same dim there, else −1, and what was −1 a number.
void free_entry(Shape& shape, size_t d, bool copies, const Shape& out) {
  if (!copies)
    for (size_t i = 0; i < shape.size(); ++i)
      if (shape[i] == -1) shape[i] = out[i];
  shape[d] = copies ? 0 : -1;
}

}  // namespace

void give_reshape(NodeImport& n, ValueId x, const Known& shape, const Known& other) {
  const Shape in = n.shape_of(x), in_other = n.other_shape_of(x);
  Shape entries = shape.ints;
  const auto out = resolved(entries, in);
  std::optional<BatchPlace> place;
  if (out && in != in_other && n.importer().batch_free()) {
    size_t axis = 0;
    while (axis < in.size() && in[axis] == in_other[axis]) ++axis;
    const int64_t outer = n.importer().batch_outer(x), batch = n.importer().batch();
    const int64_t before = product(in, axis) * outer;
    place = place_of_batch(*out, before, batch, axis);
    if (const auto computed = resolved(other.ints, in_other); shape.ints != other.ints && computed) {
      size_t d = 0;
      while (d < out->size() && (*out)[d] == (*computed)[d]) ++d;
      if (d < out->size() && (!place || place->dim != d))
        place = BatchPlace{d, std::max<int64_t>(1, before / std::max<int64_t>(1, product(*out, d)))};
    }
    if (place && entries[place->dim] != -1 && entries[place->dim] != 0) {
      const size_t d = place->dim;
      const bool copies = d < in.size() && in[d] == (*out)[d] && in_other[d] == in[d] * kBatchFactor;
      free_entry(entries, d, copies, *out);
    }
  }
  if (out == in && (in == in_other || (!entries.empty() && entries[0] <= 0))) return n.give_value(x);
  n.give("Reshape", {x}, {{"shape", entries}});
  if (place) n.importer().set_batch_outer(n.result(), place->outer);
}

}  // namespace espalier
