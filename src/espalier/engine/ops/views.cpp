// Operators that only look at their input in another way: no step at all, or a copy where strides cannot say it.
#include <algorithm>

#include "espalier/engine/ops/lowering.h"
#include "espalier/graph/ops/slice_indices.h"

namespace espalier {
namespace {

void reshape(Lowering& l) {
  const View& x = l.input(0);
  const auto view = reshaped(x, l.output_shape());
  l.set_output(0, view ? *view : *reshaped(l.contiguous(x), l.output_shape()));
}
const RegisterLowering to_shape("Reshape", reshape), flatten("Flatten", reshape), squeeze("Squeeze", reshape),
    unsqueeze("Unsqueeze", reshape);

const RegisterLowering transpose("Transpose", [](Lowering& l) {
  const View& x = l.input(0);
  View y = x;
  const auto& perm = l.node().integers("perm");
  for (size_t d = 0; d < perm.size(); ++d) {
    y.shape[d] = x.shape[static_cast<size_t>(perm[d])];
    y.strides[d] = x.strides[static_cast<size_t>(perm[d])];
  }
  l.set_output(0, y);
});

const RegisterLowering expand("Expand", [](Lowering& l) {
  View y = l.input(0);
  y.strides = broadcast_strides(y, l.output_shape());
  y.shape = l.output_shape();
  l.set_output(0, y);
});

// A stride may be negative for a reversed axis; steps copy such views before they use them.
const RegisterLowering slice("Slice", [](Lowering& l) {
  const auto &axes = l.node().integers("axes"), &starts = l.node().integers("starts"),
             &ends = l.node().integers("ends");
  const auto steps = l.node().integers_or("steps", Shape(axes.size(), 1));
  View y = l.input(0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = l.axis(axes[i], y.rank());
    const auto indices = slice_indices(y.shape[axis], starts[i], ends[i], steps[i]);
    if (!indices.empty()) y.offset += indices.front() * y.strides[axis];
    y.shape[axis] = static_cast<int64_t>(indices.size());
    if (indices.size() > 1) y.strides[axis] *= steps[i];
  }
  l.set_output(0, y);
});

const RegisterLowering split("Split", [](Lowering& l) {
  View part = l.input(0);
  const size_t axis = l.axis(l.node().integer_or("axis", -1), part.rank());
  const auto& sizes = l.node().integers("sizes");
  for (size_t i = 0; i < sizes.size(); ++i) {
    part.shape[axis] = sizes[i];
    l.set_output(i, part);
    part.offset += sizes[i] * part.strides[axis];
  }
});

const RegisterLowering cast("Cast", [](Lowering& l) {
  const std::string to = l.node().text("to");
  l.set_output(0, l.as_type(l.input(0), to == "int64" ? DType::kI64 : to == "bool" ? DType::kBool : DType::kF32));
});

const RegisterLowering constant("Constant", [](Lowering& l) {
  if (l.node().has_param("value")) {
    l.set_output(0, l.constant(l.graph().parameter_of(l.node(), "value").load()));
    return;
  }
  const auto& values = std::get<std::vector<double>>(l.node().attributes.at("values"));
  const std::vector<float> floats(values.begin(), values.end());
  l.set_output(0, l.constant(Tensor::from_floats(l.node().integers("shape"), floats)));
});

}  // namespace
}  // namespace espalier
