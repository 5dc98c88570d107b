#include "espalier/engine/kernels/lanes_avx512.h"
// after the lanes
#include "espalier/engine/kernels/dense_body.h"

namespace espalier::dense_avx512 {

void fp32(const DenseProduct& p) { multiply<Fp32Weights>(p); }
void bf16(const DenseProduct& p) { multiply<Bf16Weights>(p); }
void fp16(const DenseProduct& p) { multiply<Fp16Weights>(p); }
void int8_rows(const DenseProduct& p) { multiply<Int8Rows>(p); }
void int8_groups(const DenseProduct& p) { multiply<Int8Groups>(p); }

}  // namespace espalier::dense_avx512
