#include "espalier/lab/training/autocast.h"

#include <ATen/autocast_mode.h>
#include <torch/version.h>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

void set(c10::DeviceType device, bool enabled, at::ScalarType type) {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
  at::autocast::set_autocast_dtype(device, type);
  at::autocast::set_autocast_enabled(device, enabled);
#else
  if (device == at::kCUDA) {
    at::autocast::set_autocast_gpu_dtype(type);
    at::autocast::set_enabled(enabled);
  } else {
    at::autocast::set_autocast_cpu_dtype(type);
    at::autocast::set_cpu_enabled(enabled);
  }
#endif
}

}  // namespace

Autocast::Autocast(TrainPrecision precision, c10::DeviceType device) : on_(precision != TrainPrecision::kFp32), device_(device) {
  if (!on_) return;
  at::autocast::increment_nesting();
  set(device, true, precision == TrainPrecision::kFp16 ? at::kHalf : at::kBFloat16);
}

Autocast::~Autocast() {
  if (!on_) return;
  set(device_, false, device_ == at::kCUDA ? at::kHalf : at::kBFloat16);  // libtorch's own types
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
}

void check_precision(TrainPrecision precision, c10::DeviceType device) {
  if (precision == TrainPrecision::kFp16 && device != at::kCUDA)
    throw UserError("training", "precision", "fp32 or bf16 on the processor (fp16 needs --device cuda)", "fp16");
}

}  // namespace espalier
