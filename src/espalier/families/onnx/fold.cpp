#include "espalier/families/onnx/fold.h"

#include <algorithm>
#include <unordered_map>

#include "espalier/core/checked.h"
#include "espalier/core/error.h"
#include "espalier/io/onnx/attributes.h"

namespace espalier {
namespace {

std::unordered_map<std::string, Folder>& folders() {
  static std::unordered_map<std::string, Folder> table;
  return table;
}

DType dtype_of(OnnxDataType type) {
  if (type == OnnxDataType::kBool) return DType::kBool;
  if (!is_real(type)) return DType::kI64;
  const OnnxTypeInfo* info = onnx_type_info(type);
  return info && info->dtype ? *info->dtype : DType::kF32;
}

template <typename T>
void read_integers(const Tensor& tensor, std::vector<int64_t>& out) {
  for (T value : tensor.as<T>()) out.push_back(static_cast<int64_t>(value));
}

}  // namespace

bool is_real(OnnxDataType type) {
  const OnnxTypeInfo* info = onnx_type_info(type);
  return info && info->dtype && is_floating(*info->dtype);
}

bool Known::real() const { return is_real(type); }

double rounded(OnnxDataType type, double value) {
  switch (type) {
    case OnnxDataType::kDouble:
      return value;
    case OnnxDataType::kFloat16:
      return f16_to_float(float_to_f16(static_cast<float>(value)));
    case OnnxDataType::kBfloat16:
      return bf16_to_float(float_to_bf16(static_cast<float>(value)));
    default:
      return static_cast<float>(value);
  }
}

Known known_integers(std::vector<int64_t> values) {
  Known known{OnnxDataType::kInt64, {std::ssize(values)}, std::move(values), {}};
  return known;
}

Known known_from(const Tensor& tensor, OnnxDataType type) {
  Known known{type, tensor.shape(), {}, {}};
  if (tensor.dtype() == DType::kF64) {
    const auto values = tensor.as<double>();
    known.reals.assign(values.begin(), values.end());
    return known;
  }
  if (is_floating(tensor.dtype())) {
    const auto values = tensor.to_floats();
    known.reals.assign(values.begin(), values.end());
    return known;
  }
  switch (tensor.dtype()) {
    case DType::kI8:
      read_integers<int8_t>(tensor, known.ints);
      break;
    case DType::kI16:
      read_integers<int16_t>(tensor, known.ints);
      break;
    case DType::kI32:
      read_integers<int32_t>(tensor, known.ints);
      break;
    case DType::kU16:
      read_integers<uint16_t>(tensor, known.ints);
      break;
    case DType::kU32:
      read_integers<uint32_t>(tensor, known.ints);
      break;
    case DType::kI64:
    case DType::kU64:
      read_integers<int64_t>(tensor, known.ints);
      break;
    default:
      read_integers<uint8_t>(tensor, known.ints);
  }
  return known;
}

Tensor to_tensor(const Known& known) {
  const DType dtype = dtype_of(known.type);
  Tensor tensor(dtype, known.shape);
  if (dtype == DType::kF64) {
    std::copy(known.reals.begin(), known.reals.end(), tensor.mutable_as<double>().begin());
  } else if (known.real()) {
    const std::vector<float> values(known.reals.begin(), known.reals.end());
    convert_from_float(dtype, values.data(), tensor.mutable_bytes(), values.size());
  } else if (dtype == DType::kBool) {
    std::transform(known.ints.begin(), known.ints.end(), tensor.mutable_as<uint8_t>().begin(),
                   [](int64_t value) { return static_cast<uint8_t>(value != 0); });
  } else {
    std::copy(known.ints.begin(), known.ints.end(), tensor.mutable_as<int64_t>().begin());
  }
  return tensor;
}

int64_t FoldCall::integer(const char* name, int64_t otherwise) const {
  return attribute_int(node, name, otherwise, where);
}

std::vector<int64_t> FoldCall::integers(size_t i, const char* name) const {
  if (has(i)) return input(i).ints;
  return attribute_ints(node, name, {}, where);
}

RegisterFolder::RegisterFolder(const char* op_type, Folder folder) { folders()[op_type] = folder; }

bool is_foldable(const std::string& op_type) { return folders().contains(op_type); }

std::vector<Known> fold(const FoldCall& call) {
  const auto found = folders().find(call.node.op_type);
  return found == folders().end() ? std::vector<Known>{} : found->second(call);
}

int64_t count_of(const Shape& shape) {
  int64_t count = 1;
  bool zero = false;
  for (int64_t size : shape) {
    if (size < 0) return -1;
    zero = zero || size == 0;
    if (size > 0 && (size > kMostKnown || (count *= size) > kMostKnown)) return -1;
  }
  return zero ? 0 : count;
}

Shape strides_of(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

bool normalise_axis(int64_t& axis, size_t rank) {
  const auto size = static_cast<int64_t>(rank);
  if (axis < -size || axis >= size) return false;
  if (axis < 0) axis += size;
  return true;
}

Known empty_like(const Known& like, Shape shape) { return {like.type, std::move(shape), {}, {}}; }

bool broadcast_shapes(const Shape& a, const Shape& b, Shape& out) {
  out.assign(std::max(a.size(), b.size()), 1);
  for (size_t d = 1; d <= out.size(); ++d) {
    const int64_t left = d <= a.size() ? a[a.size() - d] : 1, right = d <= b.size() ? b[b.size() - d] : 1;
    if (left != right && left != 1 && right != 1) return false;
    out[out.size() - d] = left == 1 ? right : left;
  }
  return true;
}

int64_t broadcast_index(const Shape& at, const Shape& shape, const Shape& strides) {
  int64_t index = 0;
  for (size_t d = 0; d < shape.size(); ++d)
    if (shape[d] != 1) index += at[at.size() - shape.size() + d] * strides[d];
  return index;
}

}  // namespace espalier
