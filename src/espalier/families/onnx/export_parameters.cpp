#include "espalier/families/onnx/export_parameters.h"

#include <algorithm>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

template <typename Word>
void transpose_words(const Word* from, Word* to, int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 32;  // rows and columns of a tile fit the first-level cache
  for (int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (int64_t c0 = 0; c0 < columns; c0 += kTile)
      for (int64_t r = r0; r < std::min(rows, r0 + kTile); ++r)
        for (int64_t c = c0; c < std::min(columns, c0 + kTile); ++c) to[c * rows + r] = from[r * columns + c];
}

Tensor transposed_copy(const Tensor& matrix) {
  const int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  Tensor result(matrix.dtype(), {columns, rows});
  const auto run = [&]<typename Word>(Word) {
    transpose_words(reinterpret_cast<const Word*>(matrix.bytes()), reinterpret_cast<Word*>(result.mutable_bytes()), rows,
                    columns);
  };
  switch (size_of(matrix.dtype())) {
    case 1:
      run(uint8_t{});
      break;
    case 2:
      run(uint16_t{});
      break;
    case 4:
      run(uint32_t{});
      break;
    default:
      run(uint64_t{});
  }
  return result;
}

bool holds(const OnnxTensor& original, const Tensor& tensor) {
  if (original.dims != tensor.shape() || original.storage == OnnxStorage::kStrings) return false;
  const OnnxTypeInfo* type = onnx_type_info(original.data_type);
  if (!type || type->dtype != tensor.dtype()) return false;
  const OnnxBytes raw = onnx_raw_bytes(original, original.name);
  const auto* bytes = reinterpret_cast<const char*>(tensor.bytes());
  return raw.view.size() == tensor.byte_size() &&
         (raw.view.data() == bytes || tensor.byte_size() == 0 || std::memcmp(raw.view.data(), bytes, raw.view.size()) == 0);
}

}  // namespace

DType stored_dtype(DType dtype, int64_t opset) {
  const int64_t since = dtype == DType::kBF16 ? 13 : dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2 ? 19 : 0;
  return opset < since ? DType::kF32 : dtype;
}

OnnxTensor initializer_of(const Parameter& parameter, const std::string& name, const OnnxTensor* original,
                          bool transposed, int64_t opset) {
  Tensor tensor = parameter.load();
  if (original && !transposed && original->name == name && holds(*original, tensor)) return *original;
  if (const DType stored = stored_dtype(tensor.dtype(), opset); stored != tensor.dtype()) tensor = tensor.to(stored);
  return onnx_tensor(name, transposed ? transposed_copy(tensor) : tensor);
}

}  // namespace espalier
