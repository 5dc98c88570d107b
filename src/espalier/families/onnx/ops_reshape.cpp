// How a Reshape is written so that it holds for any batch.
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

// The dim of the output in which the input's dim `batch` ends up as the outermost factor; nothing: in none.
std::optional<size_t> batch_dim(const Shape& in, size_t batch, const Shape& out) {
  const int64_t before = product(in, batch);
  auto fits = [&](size_t d) { return d < out.size() && product(out, d) == before && out[d] % std::max<int64_t>(1, in[batch]) == 0; };
  if (fits(batch) && out[batch] == in[batch]) return batch;
  for (size_t d = 0; d < out.size(); ++d)
    if (fits(d)) return d;
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
  if (out && in != in_other && n.importer().batch_free()) {
    size_t batch = 0;
    while (batch < in.size() && in[batch] == in_other[batch]) ++batch;
    std::optional<size_t> scaled;
    if (const auto out_other = resolved(other.ints, in_other); shape.ints != other.ints && out_other) {
      for (size_t d = 0; d < out->size(); ++d)
        if ((*out)[d] != (*out_other)[d] && !scaled) scaled = d;
    } else {
      scaled = batch_dim(in, batch, *out);
    }
    if (scaled && entries[*scaled] != -1 && entries[*scaled] != 0) {
      const size_t d = *scaled;
      const bool copies = d < in.size() && in[d] == (*out)[d] && in_other[d] == in[d] * kBatchFactor;
      free_entry(entries, d, copies, *out);
    }
  }
  if (out == in && (in == in_other || (!entries.empty() && entries[0] <= 0))) return n.give_value(x);
  n.give("Reshape", {x}, {{"shape", entries}});
}

}  // namespace espalier
