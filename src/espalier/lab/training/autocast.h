// Mixed precision of a forward: while an object of this class lives, libtorch multiplies matrices and convolves in bf16 or
// fp16 on tensors of the device, and does what needs it in fp32. Weights stay as they are; their copies live as long.
#pragma once

#include <c10/core/DeviceType.h>

#include "espalier/lab/training/trainer.h"

namespace espalier {

class Autocast {
 public:
  Autocast(TrainPrecision precision, c10::DeviceType device);  // fp32: nothing changes
  ~Autocast();
  Autocast(const Autocast&) = delete;

 private:
  bool on_;
  c10::DeviceType device_;
};

// UserError naming the setting where the device cannot: fp16 needs CUDA.
void check_precision(TrainPrecision precision, c10::DeviceType device);

}  // namespace espalier
