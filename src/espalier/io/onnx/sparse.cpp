#include <cstring>

#include "espalier/core/error.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

std::string sparse_label(const OnnxSparseTensor& sparse, const std::string& where) {
  return fmt::format("{}: sparse tensor '{}'", where, printable(sparse.values.name));
}

// Linear positions in the dense tensor. UserError: an index out of range, or not above the one before it.
std::vector<uint64_t> positions(const OnnxSparseTensor& sparse, const std::string& where) {
  const std::string label = sparse_label(sparse, where);
  const Tensor indices = to_tensor(sparse.indices, where);
  const auto numbers = indices.as<int64_t>();
  const bool linear = indices.shape().size() == 1;
  const Shape limits =
      linear ? Shape{static_cast<int64_t>(onnx_element_count(sparse.dims, label, "dims"))} : sparse.dims;
  std::vector<uint64_t> result;
  result.reserve(numbers.size() / limits.size());
  for (size_t i = 0; i < numbers.size(); i += limits.size()) {
    uint64_t at = 0;
    for (size_t axis = 0; axis < limits.size(); ++axis) {
      const int64_t index = numbers[i + axis];
      if (index < 0 || index >= limits[axis])
        throw UserError(label, "indices", fmt::format("0 to {} on axis {}", limits[axis] - 1, axis),
                        std::to_string(index));
      at = at * static_cast<uint64_t>(limits[axis]) + static_cast<uint64_t>(index);
    }
    if (!result.empty() && at <= result.back())
      throw UserError(label, "indices",
                      fmt::format("ascending ones, the {}th above position {}", result.size() + 1, result.back()),
                      std::to_string(at));
    result.push_back(at);
  }
  return result;
}

}  // namespace

void check_onnx_sparse(const OnnxSparseTensor& sparse, const std::string& where) {
  const std::string label = sparse_label(sparse, where);
  check_onnx_tensor(sparse.values, where);
  check_onnx_tensor(sparse.indices, where);
  onnx_element_count(sparse.dims, label, "dims");
  if (sparse.dims.empty()) throw UserError(label, "dims", "at least one dimension", "none");
  if (sparse.values.dims.size() != 1)
    throw UserError(label, "values.dims", "one dimension", to_string(sparse.values.dims));
  if (sparse.indices.data_type != OnnxDataType::kInt64)
    throw UserError(label, "indices.data_type", "INT64", describe_onnx_type(sparse.indices.data_type));
  const int64_t count = sparse.values.dims[0];
  const auto rank = static_cast<int64_t>(sparse.dims.size());
  if (sparse.indices.dims != Shape{count} && sparse.indices.dims != Shape{count, rank})
    throw UserError(label, "indices.dims", fmt::format("[{}] or [{}, {}]", count, count, rank),
                    to_string(sparse.indices.dims));
  const bool opened = sparse.indices.storage != OnnxStorage::kExternal || sparse.indices.data.owner;
  if (opened) positions(sparse, where);
}

Tensor to_tensor(const OnnxSparseTensor& sparse, const std::string& where) {
  check_onnx_sparse(sparse, where);
  const Tensor values = to_tensor(sparse.values, where);
  const std::string label = sparse_label(sparse, where);
  const size_t width = size_of(values.dtype());
  const uint64_t count = onnx_element_count(sparse.dims, label, "dims");
  if (count > kMaxOnnxSparseBytes / width)
    throw UserError(label, "dims", fmt::format("at most {} bytes once dense", kMaxOnnxSparseBytes),
                    to_string(sparse.dims));
  Tensor dense(values.dtype(), sparse.dims);
  size_t i = 0;
  for (uint64_t at : positions(sparse, where))
    std::memcpy(dense.mutable_bytes() + at * width, values.bytes() + width * i++, width);
  return dense;
}

}  // namespace espalier
