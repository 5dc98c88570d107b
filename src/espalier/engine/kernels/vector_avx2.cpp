#include "espalier/engine/kernels/lanes_avx2.h"
#include "espalier/engine/kernels/vector_tables.h"
// after the lanes
#include "espalier/engine/kernels/vector_body.h"

namespace espalier {

const VectorKernels kVectorAvx2 = kTable;

}  // namespace espalier
