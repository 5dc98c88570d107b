#include "espalier/engine/kernels/vector_tables.h"

namespace espalier {

const VectorKernels& vector_kernels(SimdLevel level) {
  switch (level) {
    case SimdLevel::kReference: return kVectorReference;
    case SimdLevel::kAvx2: return kVectorAvx2;
    case SimdLevel::kAvx512:
    case SimdLevel::kAvx512Bf16: return kVectorAvx512;
  }
  return kVectorReference;
}

}  // namespace espalier
