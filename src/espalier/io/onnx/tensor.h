// The elements of an ONNX tensor, however the file stores them (TensorProto and SparseTensorProto of the
// specification).
#pragma once

#include <cstdint>
#include <string>

#include "espalier/core/tensor.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

constexpr size_t kMaxOnnxRank = 32;
constexpr uint64_t kMaxOnnxSparseBytes = 1ull << 32;  // what a sparse tensor may take once dense

// The product of dims. UserError naming where and field: a negative number, an overflow, more than kMaxOnnxRank.
uint64_t onnx_element_count(const Shape& dims, const std::string& where, const std::string& field);

// Bytes of the elements in raw form: sub-byte elements packed, the last byte filled up. UserError: dims, an unknown or
// undefined type, strings.
uint64_t onnx_byte_size(const OnnxTensor& tensor, const std::string& where);

// UserError unless type, dims and the number of stored elements fit each other. Of external data only what has been
// opened is checked.
void check_onnx_tensor(const OnnxTensor& tensor, const std::string& where);
void check_onnx_sparse(const OnnxSparseTensor& sparse, const std::string& where);

// The elements in raw form: a view of raw_data, external data, float_data and double_data; other typed fields are
// decoded. UserError: an element that its type cannot hold, strings, 6-bit types in a typed field, external data that
// is not opened.
OnnxBytes onnx_raw_bytes(const OnnxTensor& tensor, const std::string& where);

// A view of the bytes where they lie aligned for their type, else a copy. INT4 and INT2 become kI8, UINT4 and UINT2
// kU8. UserError: types that espalier has no tensor for (strings, complex, FNUZ, FLOAT4/6, FLOAT8E8M0).
Tensor to_tensor(const OnnxTensor& tensor, const std::string& where);
Tensor to_tensor(const OnnxSparseTensor& sparse, const std::string& where);  // dense

// raw_data that shares the tensor's bytes.
OnnxTensor onnx_tensor(std::string name, const Tensor& tensor);

}  // namespace espalier
