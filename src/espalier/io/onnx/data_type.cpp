#include "espalier/io/onnx/data_type.h"

#include <array>

#include "espalier/core/error.h"

namespace espalier {
namespace {

using enum OnnxStorage;

constexpr std::array<OnnxTypeInfo, 29> kTypes{{{"UNDEFINED", 0, kNone, {}},
                                               {"FLOAT", 32, kFloats, DType::kF32},
                                               {"UINT8", 8, kInt32s, DType::kU8},
                                               {"INT8", 8, kInt32s, DType::kI8},
                                               {"UINT16", 16, kInt32s, DType::kU16},
                                               {"INT16", 16, kInt32s, DType::kI16},
                                               {"INT32", 32, kInt32s, DType::kI32},
                                               {"INT64", 64, kInt64s, DType::kI64},
                                               {"STRING", 0, kStrings, {}},
                                               {"BOOL", 8, kInt32s, DType::kBool},
                                               {"FLOAT16", 16, kInt32s, DType::kF16},
                                               {"DOUBLE", 64, kDoubles, DType::kF64},
                                               {"UINT32", 32, kUint64s, DType::kU32},
                                               {"UINT64", 64, kUint64s, DType::kU64},
                                               {"COMPLEX64", 64, kFloats, {}},
                                               {"COMPLEX128", 128, kDoubles, {}},
                                               {"BFLOAT16", 16, kInt32s, DType::kBF16},
                                               {"FLOAT8E4M3FN", 8, kInt32s, DType::kF8E4M3},
                                               {"FLOAT8E4M3FNUZ", 8, kInt32s, {}},
                                               {"FLOAT8E5M2", 8, kInt32s, DType::kF8E5M2},
                                               {"FLOAT8E5M2FNUZ", 8, kInt32s, {}},
                                               {"UINT4", 4, kInt32s, {}},
                                               {"INT4", 4, kInt32s, {}},
                                               {"FLOAT4E2M1", 4, kInt32s, {}},
                                               {"FLOAT8E8M0", 8, kInt32s, {}},
                                               {"UINT2", 2, kInt32s, {}},
                                               {"INT2", 2, kInt32s, {}},
                                               {"FLOAT6E2M3", 6, kInt32s, {}},
                                               {"FLOAT6E3M2", 6, kInt32s, {}}}};

}  // namespace

std::string_view name_of(OnnxStorage storage) {
  constexpr std::array<std::string_view, 9> kNames{"no data",     "raw_data",    "float_data",
                                                   "int32_data",  "string_data", "int64_data",
                                                   "double_data", "uint64_data", "external_data"};
  return kNames[static_cast<size_t>(storage)];
}

const OnnxTypeInfo* onnx_type_info(OnnxDataType type) {
  const auto number = static_cast<int32_t>(type);
  return number >= 1 && number < static_cast<int32_t>(kTypes.size()) ? &kTypes[static_cast<size_t>(number)] : nullptr;
}

std::string describe_onnx_type(OnnxDataType type) {
  const OnnxTypeInfo* info = onnx_type_info(type);
  return info ? std::string(info->name) : fmt::format("data type {}", static_cast<int32_t>(type));
}

OnnxDataType onnx_type_of(DType dtype) {
  for (size_t i = 1; i < kTypes.size(); ++i)
    if (kTypes[i].dtype == dtype) return static_cast<OnnxDataType>(i);
  bug(__FILE__, __LINE__, fmt::format("no ONNX type for {}", name_of(dtype)));
}

}  // namespace espalier
