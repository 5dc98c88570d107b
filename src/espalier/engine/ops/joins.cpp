// Operators that arrange elements anew: Concat, Pad, Tile, Repeat, Gather.
#include <cstring>

#include "espalier/engine/ops/broadcast.h"
#include "espalier/engine/ops/strided_copy.h"

namespace espalier {
namespace {

// Channels last if an input of three or four dims is.
Shape strides_like(const std::vector<View>& inputs, const Shape& shape) {
  for (const View& input : inputs)
    if (input.rank() == shape.size() && is_channels_last(input) && !is_contiguous(input))
      return channels_last_strides(shape);
  return contiguous_strides(shape);
}

const RegisterLowering concat("Concat", [](Lowering& l) {
  std::vector<View> inputs;
  DType type = l.input(0).dtype;
  for (size_t i = 0; i < l.input_count(); ++i) type = promoted(type, l.input(i).dtype);
  for (size_t i = 0; i < l.input_count(); ++i) inputs.push_back(l.as_type(l.input(i), type));
  const View y = l.make(type, l.output_shape(), strides_like(inputs, l.output_shape()));
  const size_t axis = l.axis(l.node().integer("axis"), y.rank());
  std::vector<std::pair<StridedCopy, int64_t>> copies;  // and where each begins, in bytes
  int64_t at = 0;
  for (const View& input : inputs) {
    copies.emplace_back(StridedCopy(input.shape, input.strides, y.strides, size_of(type)),
                        at * y.strides[axis] * static_cast<int64_t>(size_of(type)));
    at += input.shape[axis];
  }
  l.step(inputs, {y}, [copies](const StepPointers& p) {
    for (size_t i = 0; i < copies.size(); ++i) copies[i].first.run(p.in[i], p.out[0] + copies[i].second);
  });
  l.set_output(0, y);
});

// Repetition as a copy from a view with more dims: of each dim (outer, size, inner) copies.
View repeated(const View& x, const Shape& outer, const Shape& inner) {
  View view{x.dtype, {}, {}, x.storage, x.offset};
  for (size_t d = 0; d < x.rank(); ++d) {
    view.shape.insert(view.shape.end(), {outer[d], x.shape[d], inner[d]});
    view.strides.insert(view.strides.end(), {0, x.strides[d], 0});
  }
  return view;
}

void set_repeated(Lowering& l, const Shape& outer, const Shape& inner) {
  l.set_output(0, *reshaped(l.contiguous(repeated(l.input(0), outer, inner)), l.output_shape()));
}

const RegisterLowering tile("Tile", [](Lowering& l) {
  set_repeated(l, l.node().integers("repeats"), Shape(l.input(0).rank(), 1));
});

const RegisterLowering repeat("Repeat", [](Lowering& l) {
  Shape inner(l.input(0).rank(), 1);
  inner[l.axis(l.node().integer("axis"), inner.size())] = l.node().integer("repeats");
  set_repeated(l, Shape(inner.size(), 1), inner);
});

// Along one axis y takes x at these indices.
View picked(Lowering& l, const View& given, size_t axis, const std::vector<int64_t>& indices) {
  const View x = l.dense(given);
  Shape shape = x.shape;
  shape[axis] = static_cast<int64_t>(indices.size());
  const View y = l.make(x.dtype, shape, strides_like({x}, shape));
  Shape slice = shape;
  slice[axis] = 1;
  const StridedCopy copy(slice, x.strides, y.strides, size_of(x.dtype));
  const int64_t from = x.strides[axis] * static_cast<int64_t>(size_of(x.dtype)),
                to = y.strides[axis] * static_cast<int64_t>(size_of(x.dtype));
  l.step({x}, {y}, [copy, from, to, indices](const StepPointers& p) {
    for (size_t i = 0; i < indices.size(); ++i)
      copy.run(p.in[0] + indices[i] * from, p.out[0] + static_cast<int64_t>(i) * to);
  });
  return y;
}

// Indices that go up in equal steps need no copy.
std::optional<View> as_slice(const View& x, size_t axis, const std::vector<int64_t>& indices) {
  View view = x;
  const int64_t step = indices.size() > 1 ? indices[1] - indices[0] : 1;
  for (size_t i = 1; i < indices.size(); ++i)
    if (indices[i] - indices[i - 1] != step) return std::nullopt;
  view.shape[axis] = static_cast<int64_t>(indices.size());
  if (!indices.empty()) view.offset += indices[0] * view.strides[axis];
  view.strides[axis] *= step;
  return view;
}

const RegisterLowering gather("Gather", [](Lowering& l) {
  const View& x = l.input(0);
  const size_t axis = l.axis(l.node().integer("axis"), x.rank());
  std::vector<int64_t> indices = l.node().integers("indices");
  for (int64_t& index : indices) index += index < 0 ? x.shape[axis] : 0;
  const auto slice = as_slice(x, axis, indices);
  View y = slice ? *slice : picked(l, x, axis, indices);
  if (l.node().flag_or("scalar", false)) {
    y.shape.erase(y.shape.begin() + static_cast<int64_t>(axis));
    y.strides.erase(y.strides.begin() + static_cast<int64_t>(axis));
  }
  l.set_output(0, y);
});

// Reflected without the edge, or the edge again and again.
std::vector<int64_t> padded_indices(int64_t size, int64_t before, int64_t after, bool reflect) {
  std::vector<int64_t> indices;
  for (int64_t i = -before; i < size + after; ++i) {
    const int64_t low = reflect ? -i : 0, high = reflect ? 2 * (size - 1) - i : size - 1;
    indices.push_back(i < 0 ? low : i >= size ? high : i);
  }
  return indices;
}

template <typename T>
StepFunction padding(const StridedCopy& copy, int64_t count, int64_t begin, T value) {
  return [=](const StepPointers& p) {
    std::fill_n(p.output<T>(0), count, value);
    copy.run(p.in[0], reinterpret_cast<std::byte*>(p.output<T>(0) + begin));
  };
}

void pad_with_value(Lowering& l, const View& x, const std::vector<int64_t>& pads) {
  const View y = l.make(x.dtype, l.output_shape(), strides_like({x}, l.output_shape()));
  const StridedCopy copy(x.shape, x.strides, y.strides, size_of(x.dtype));
  int64_t begin = 0;
  for (size_t d = 0; d < x.rank(); ++d) begin += pads[d] * y.strides[d];
  const double value = l.node().real_or("value", 0);
  StepFunction run = padding<float>(copy, y.count(), begin, static_cast<float>(value));
  if (x.dtype == DType::kI64) run = padding<int64_t>(copy, y.count(), begin, static_cast<int64_t>(value));
  if (x.dtype == DType::kBool) run = padding<uint8_t>(copy, y.count(), begin, value != 0);
  l.step({x}, {y}, run);
  l.set_output(0, y);
}

const RegisterLowering pad("Pad", [](Lowering& l) {
  const auto& pads = l.node().integers("pads");
  const std::string mode = l.node().text_or("mode", "constant");
  View x = l.input(0);
  if (mode == "constant") return pad_with_value(l, x, pads);
  for (size_t d = 0; d < pads.size() / 2; ++d)
    if (pads[d] + pads[d + pads.size() / 2] > 0)
      x = picked(l, x, d, padded_indices(x.shape[d], pads[d], pads[d + pads.size() / 2], mode == "reflect"));
  l.set_output(0, x);
});

}  // namespace
}  // namespace espalier
