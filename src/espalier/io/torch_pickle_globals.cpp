#include "espalier/io/torch_pickle_globals.h"

#include <algorithm>
#include <array>

namespace espalier {
namespace {

struct Known {
  std::string_view module, name;
  TorchGlobal kind;
};

constexpr auto kKnown = std::to_array<Known>({
    {"collections", "OrderedDict", TorchGlobal::kOrderedDict},
    {"torch._utils", "_rebuild_tensor", TorchGlobal::kTensor},
    {"torch._utils", "_rebuild_tensor_v2", TorchGlobal::kTensor},
    {"torch._utils", "_rebuild_tensor_v3", TorchGlobal::kTensorV3},
    {"torch._utils", "_rebuild_parameter", TorchGlobal::kParameter},
    {"torch._utils", "_rebuild_parameter_with_state", TorchGlobal::kParameter},
    {"torch._tensor", "_rebuild_from_type_v2", TorchGlobal::kFromType},
    {"torch.storage", "UntypedStorage", TorchGlobal::kUntypedStorage},
    {"torch", "UntypedStorage", TorchGlobal::kUntypedStorage},
    {"torch", "Size", TorchGlobal::kTuple},
    {"torch", "device", TorchGlobal::kInert},
    {"torch", "Tensor", TorchGlobal::kInert},
    {"torch.nn.parameter", "Parameter", TorchGlobal::kInert},
    {"torch.nn.parameter", "Buffer", TorchGlobal::kInert},
    {"argparse", "Namespace", TorchGlobal::kInert},
    {"builtins", "set", TorchGlobal::kInert},
    {"__builtin__", "set", TorchGlobal::kInert},
    {"pathlib", "PosixPath", TorchGlobal::kInert},
    {"numpy.core.multiarray", "scalar", TorchGlobal::kInert},
    {"numpy._core.multiarray", "scalar", TorchGlobal::kInert},
    {"numpy", "dtype", TorchGlobal::kInert},
    {"_codecs", "encode", TorchGlobal::kInert},
});

struct Typed {
  std::string_view name;
  DType dtype;
};

constexpr auto kStorages = std::to_array<Typed>({
    {"FloatStorage", DType::kF32},
    {"DoubleStorage", DType::kF64},
    {"HalfStorage", DType::kF16},
    {"BFloat16Storage", DType::kBF16},
    {"LongStorage", DType::kI64},
    {"IntStorage", DType::kI32},
    {"ShortStorage", DType::kI16},
    {"CharStorage", DType::kI8},
    {"ByteStorage", DType::kU8},
    {"BoolStorage", DType::kBool},
});

constexpr auto kDTypes = std::to_array<Typed>({
    {"float32", DType::kF32},
    {"float64", DType::kF64},
    {"float16", DType::kF16},
    {"bfloat16", DType::kBF16},
    {"float8_e4m3fn", DType::kF8E4M3},
    {"float8_e5m2", DType::kF8E5M2},
    {"int64", DType::kI64},
    {"int32", DType::kI32},
    {"int16", DType::kI16},
    {"int8", DType::kI8},
    {"uint8", DType::kU8},
    {"uint16", DType::kU16},
    {"uint32", DType::kU32},
    {"uint64", DType::kU64},
    {"bool", DType::kBool},
});

template <typename Table>
const Typed* find_typed(const Table& table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const Typed& entry) { return entry.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace

std::optional<TorchGlobalInfo> find_torch_global(std::string_view module, std::string_view name) {
  for (const Known& known : kKnown)
    if (known.module == module && known.name == name) return TorchGlobalInfo{known.kind};
  if (module == "torch" || module == "torch.cuda")
    if (const Typed* storage = find_typed(kStorages, name))
      return TorchGlobalInfo{TorchGlobal::kStorage, storage->dtype};
  if (module == "torch")
    if (const Typed* dtype = find_typed(kDTypes, name)) return TorchGlobalInfo{TorchGlobal::kDType, dtype->dtype};
  return std::nullopt;
}

}  // namespace espalier
