// The only Python names that a torch checkpoint may mention. None is ever imported or called: each stands for one of
// the few meanings below.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "espalier/core/dtype.h"

namespace espalier {

enum class TorchGlobal : uint8_t {
  kOrderedDict,
  kTensor,          // torch._utils._rebuild_tensor, _rebuild_tensor_v2: (storage, offset, sizes, strides, …)
  kTensorV3,        // the same with the dtype as seventh argument, for storages without a type
  kParameter,       // torch._utils._rebuild_parameter…: (tensor, …)
  kFromType,        // torch._tensor._rebuild_from_type_v2: (function, type, arguments, state)
  kStorage,         // a storage class with an element type
  kUntypedStorage,  // counted in bytes
  kDType,           // torch.float32, …
  kTuple,           // torch.Size: (values)
  kInert,           // a plain value that training scripts save beside the weights; kept as an empty object
};

struct TorchGlobalInfo {
  TorchGlobal kind = TorchGlobal::kInert;
  DType dtype = DType::kF32;  // of kStorage and kDType
};

// nullopt: not on the list.
std::optional<TorchGlobalInfo> find_torch_global(std::string_view module, std::string_view name);

}  // namespace espalier
