#include "espalier/engine/weight_choice.h"

#include "espalier/core/error.h"
#include "espalier/engine/weight_file.h"

namespace espalier {
namespace {

Precision precision_of(DType dtype, const std::string& parameter) {
  switch (dtype) {
    case DType::kF32: return Precision::kF32;
    case DType::kBF16: return Precision::kBF16;
    case DType::kF16: return Precision::kF16;
    case DType::kF64: return Precision::kF32;
    default: throw UserError(parameter, "dtype", "fp32, bf16, fp16 or a packed form", std::string(name_of(dtype)));
  }
}

// [in, out] → [out, in], in its own dtype.
template <typename T>
void transpose(std::span<const T> from, int64_t rows, int64_t columns, std::span<T> to) {
  constexpr int64_t kTile = 32;
  for (int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (int64_t c0 = 0; c0 < columns; c0 += kTile)
      for (int64_t r = r0; r < std::min(rows, r0 + kTile); ++r)
        for (int64_t c = c0; c < std::min(columns, c0 + kTile); ++c)
          to[static_cast<size_t>(c * rows + r)] = from[static_cast<size_t>(r * columns + c)];
}

Tensor transposed(const Tensor& weight) {
  const Tensor plain = is_floating(weight.dtype()) && size_of(weight.dtype()) <= 4 ? weight : weight.to(DType::kF32);
  Tensor result(plain.dtype(), {plain.dim(1), plain.dim(0)});
  if (size_of(plain.dtype()) == 4) {
    transpose(plain.as<uint32_t>(), plain.dim(0), plain.dim(1), result.mutable_as<uint32_t>());
  } else {
    transpose(plain.as<uint16_t>(), plain.dim(0), plain.dim(1), result.mutable_as<uint16_t>());
  }
  return result;
}

// As the checkpoint's packed file holds it, mapped; nothing where it is not packed, was cut since, or is wanted otherwise.
std::optional<WeightMatrix> packed_as_wanted(const Model& model, const Node& node, const DecoderOptions& options) {
  const Parameter& parameter = model.graph.parameter_of(node, "weight");
  if (!model.checkpoint || parameter.is_cut() || node.flag_or("transposed", false)) return std::nullopt;
  std::optional<WeightMatrix> packed = packed_matrix(*model.checkpoint, parameter.name());
  if (packed && options.precision && *options.precision != packed->form.precision) return std::nullopt;
  return packed;
}

}  // namespace

ProgramMatrix load_matrix(const Model& model, const Node& node, const DecoderOptions& options) {
  const Parameter& parameter = model.graph.parameter_of(node, "weight");
  ProgramMatrix result;
  result.node = node.name;
  if (std::optional<WeightMatrix> packed = packed_as_wanted(model, node, options)) {
    result.weight = std::move(*packed);
    result.mat_vec = mat_vec(result.weight.form);
    return result;
  }
  Tensor weight = parameter.load();
  if (node.flag_or("transposed", false)) weight = transposed(weight);
  if (weight.dtype() == DType::kF64) weight = weight.to(DType::kF32);
  const Precision stored = precision_of(weight.dtype(), parameter.name()), precision = options.precision.value_or(stored);
  const int64_t group = precision == Precision::kI8 ? options.int8_group : 0;
  const WeightForm form = options.sparse ? suggest_form(weight, precision, group) : WeightForm{precision, Layout::kDense, group};
  if (form == WeightForm{stored}) {
    result.weight = dense_matrix(weight);
  } else {
    result.weight = make_matrix(weight, form, parameter.name());
    model.drop_pages(weight);
  }
  result.mat_vec = mat_vec(result.weight.form);
  return result;
}

}  // namespace espalier
