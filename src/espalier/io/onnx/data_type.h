// Element types of ONNX tensors (TensorProto.DataType of the ONNX specification) and how each is stored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "espalier/core/dtype.h"

namespace espalier {

// A file may hold numbers that are not listed here; describe_onnx_type() and onnx_type_info() cope.
enum class OnnxDataType : int32_t {
  kUndefined,
  kFloat,
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kInt32,
  kInt64,
  kString,
  kBool,
  kFloat16,
  kDouble,
  kUint32,
  kUint64,
  kComplex64,
  kComplex128,
  kBfloat16,
  kFloat8E4M3Fn,
  kFloat8E4M3Fnuz,
  kFloat8E5M2,
  kFloat8E5M2Fnuz,
  kUint4,
  kInt4,
  kFloat4E2M1,
  kFloat8E8M0,
  kUint2,
  kInt2,
  kFloat6E2M3,
  kFloat6E3M2
};

// Which field of a TensorProto holds the elements.
enum class OnnxStorage : uint8_t { kNone, kRaw, kFloats, kInt32s, kStrings, kInt64s, kDoubles, kUint64s, kExternal };

std::string_view name_of(OnnxStorage storage);  // the field's name: "raw_data", "float_data", …

struct OnnxTypeInfo {
  std::string_view name;       // the specification's word, "FLOAT"
  int bits;                    // of one element in raw_data, where sub-byte elements are packed; 0: strings
  OnnxStorage typed;           // the typed field for such elements
  std::optional<DType> dtype;  // espalier's type with the same bytes
};

const OnnxTypeInfo* onnx_type_info(OnnxDataType type);  // nullptr: undefined or unknown
std::string describe_onnx_type(OnnxDataType type);      // "FLOAT" or "data type 99"
OnnxDataType onnx_type_of(DType dtype);

}  // namespace espalier
