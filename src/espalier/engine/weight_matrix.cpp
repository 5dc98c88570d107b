#include "espalier/engine/weight_matrix.h"

#include "espalier/core/error.h"

namespace espalier {
namespace {

std::string precision_text(const WeightForm& form) {
  switch (form.precision) {
    case Precision::kF32: return "fp32";
    case Precision::kBF16: return "bf16";
    case Precision::kF16: return "fp16";
    case Precision::kI8: return form.group == 0 ? "int8" : fmt::format("int8/{}", form.group);
  }
  ESP_ASSERT(false, "precision {}", static_cast<int>(form.precision));
  return "";
}

std::string layout_text(const WeightForm& form) {
  switch (form.layout) {
    case Layout::kDense: return form.precision == Precision::kI8 ? " dense" : "";
    case Layout::kNOfM: return fmt::format(" {}:{}", form.n, form.m);
    case Layout::kBitmap: return " bitmap";
    case Layout::kBlock16: return " block:1x16";
  }
  ESP_ASSERT(false, "layout {}", static_cast<int>(form.layout));
  return "";
}

Precision precision_of(DType dtype) {
  switch (dtype) {
    case DType::kF32: return Precision::kF32;
    case DType::kBF16: return Precision::kBF16;
    case DType::kF16: return Precision::kF16;
    default: break;
  }
  ESP_ASSERT(false, "a dense matrix of {}", name_of(dtype));
  return Precision::kF32;
}

}  // namespace

std::string to_string(const WeightForm& form) { return precision_text(form) + layout_text(form); }

int64_t WeightMatrix::stored() const {
  switch (form.layout) {
    case Layout::kDense: return rows * columns;
    case Layout::kNOfM: return rows * (columns / form.m * form.n);
    case Layout::kBitmap: return offsets.as<int64_t>().back();
    case Layout::kBlock16: return offsets.as<int64_t>().back() * kBlockColumns;
  }
  ESP_ASSERT(false, "layout {}", static_cast<int>(form.layout));
  return 0;
}

uint64_t WeightMatrix::byte_size() const {
  const auto value_bytes = static_cast<uint64_t>(stored()) * size_of(values.dtype());
  return value_bytes + index.byte_size() + offsets.byte_size() + scales.byte_size();
}

WeightMatrix dense_matrix(const Tensor& weight) {
  ESP_ASSERT(weight.shape().size() == 2, "a matrix of shape {}", to_string(weight.shape()));
  WeightMatrix matrix;
  matrix.rows = weight.dim(0);
  matrix.columns = weight.dim(1);
  matrix.form.precision = precision_of(weight.dtype());
  matrix.values = weight;
  return matrix;
}

Tensor to_dense(const WeightMatrix& matrix) {
  Tensor dense(DType::kF32, {matrix.rows, matrix.columns});
  expand_rows(matrix, 0, matrix.rows, dense.mutable_as<float>().data(), matrix.columns);
  return dense;
}

}  // namespace espalier
