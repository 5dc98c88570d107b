#include "espalier/engine/weight_file.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/engine/weight_codes.h"

namespace espalier {
namespace {

// The same bytes in another shape: the filling behind them is left out.
Tensor reshaped(const Tensor& part, Shape shape) {
  const auto owner = std::make_shared<const Tensor>(part);
  return {part.dtype(), std::move(shape), owner, owner->bytes()};
}

bool fits_runs(const Tensor& weight, const WeightForm& form, const std::string& name) {
  if (weight.dim(1) % form.m != 0) return false;
  WeightCodes codes(weight, form.precision, form.group, name);
  for (int64_t row = 0; row < weight.dim(0); ++row) {
    const auto values = codes.read(row);
    for (int64_t run = 0; run < weight.dim(1); run += form.m) {
      const auto of_run = values.subspan(static_cast<size_t>(run), static_cast<size_t>(form.m));
      if (form.m - std::ranges::count(of_run, 0.0f) > form.n) return false;
    }
  }
  return true;
}

uint64_t dense_bytes(const Tensor& weight, Precision precision) {
  return static_cast<uint64_t>(weight.count()) * size_of(dtype_of(precision));
}

// In the wanted form if the weight has it and it saves something, else dense.
WeightMatrix converted(const std::string& name, const Tensor& weight, const WeightForm& wanted) {
  WeightForm dense{wanted.precision, Layout::kDense, wanted.group};
  const bool fits = wanted.layout != Layout::kNOfM || fits_runs(weight, wanted, name);
  if (wanted.layout == Layout::kDense || !fits) return make_matrix(weight, dense, name);
  WeightMatrix matrix = make_matrix(weight, wanted, name);
  if (matrix.byte_size() < dense_bytes(weight, wanted.precision)) return matrix;
  return make_matrix(weight, dense, name);
}

std::optional<PackedParts> pack(const PackChoice& choice, const std::string& name, const Tensor& weight) {
  const auto own = precision_of(weight.dtype());
  if (!own || weight.shape().size() != 2 || weight.count() == 0) return std::nullopt;
  WeightForm wanted = choice.best ? suggest_form(weight, *own) : choice.form;
  if (!choice.precision) wanted.precision = *own;
  WeightMatrix matrix = converted(name, weight, wanted);
  if (matrix.form.layout == Layout::kDense && matrix.form.precision != Precision::kI8) return std::nullopt;
  PackedParts parts{matrix.form, weight.shape(), weight.dtype(), filled_up(matrix.values), {}, {}, {}};
  if (matrix.form.layout != Layout::kDense) parts.index = filled_up(matrix.index);
  if (matrix.form.layout == Layout::kBitmap || matrix.form.layout == Layout::kBlock16) parts.offsets = filled_up(matrix.offsets);
  if (matrix.form.precision == Precision::kI8) parts.scales = filled_up(matrix.scales);
  return parts;
}

}  // namespace

std::optional<WeightMatrix> packed_matrix(const Checkpoint& checkpoint, const std::string& parameter) {
  const auto parts = checkpoint.has(parameter) ? checkpoint.packed(parameter) : std::nullopt;
  if (!parts) return std::nullopt;
  WeightMatrix matrix;
  matrix.rows = parts->shape[0];
  matrix.columns = parts->shape[1];
  matrix.form = parts->form;
  const bool bits = matrix.form.layout == Layout::kNOfM || matrix.form.layout == Layout::kBitmap;
  const bool blocks = matrix.form.layout == Layout::kBlock16;
  matrix.values = parts->values;
  if (matrix.form.layout == Layout::kDense) matrix.values = reshaped(parts->values, parts->shape);
  if (bits) matrix.index = reshaped(parts->index, {matrix.rows, bitmap_stride(matrix.columns)});
  if (blocks || matrix.form.layout == Layout::kBitmap) matrix.offsets = reshaped(parts->offsets, {matrix.rows + 1});
  if (blocks) {
    const int64_t count = matrix.offsets.as<int64_t>().back();
    matrix.index = reshaped(parts->index, {count});
    matrix.values = reshaped(parts->values, {count, kBlockColumns});
  }
  if (matrix.form.precision == Precision::kI8)
    matrix.scales = reshaped(parts->scales, {matrix.rows, scales_in_row(matrix.form, matrix.columns)});
  return matrix;
}

WeightPacker weight_packer(const PackChoice& choice) {
  if (choice.none) return nullptr;
  return [choice](const std::string& name, const Tensor& weight) { return pack(choice, name, weight); };
}

}  // namespace espalier
