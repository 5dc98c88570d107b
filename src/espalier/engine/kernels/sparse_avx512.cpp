#include "espalier/engine/kernels/sparse_avx512_lanes.h"
#include "espalier/engine/kernels/sparse_loops.h"

namespace espalier::sparse {
namespace {
using Lanes = Lanes512;
using PlainLanes = Lanes512;
}

const Level kAvx512 = ESP_SPARSE_LEVEL;

}  // namespace espalier::sparse
