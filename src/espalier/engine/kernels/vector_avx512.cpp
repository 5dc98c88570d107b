#include "espalier/engine/kernels/lanes_avx512.h"
#include "espalier/engine/kernels/vector_tables.h"
// after the lanes
#include "espalier/engine/kernels/vector_body.h"

namespace espalier {

const VectorKernels kVectorAvx512 = kTable;

}  // namespace espalier
