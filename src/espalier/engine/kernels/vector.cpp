#include "espalier/engine/kernels/vector_tables.h"

namespace espalier {

const VectorKernels& vector_kernels(SimdLevel level) {
  switch (level) {
    case SimdLevel::kReference:
    case SimdLevel::kAvx2:
    case SimdLevel::kAvx512:
    case SimdLevel::kAvx512Bf16: return kVectorReference;
  }
  return kVectorReference;
}

}  // namespace espalier
