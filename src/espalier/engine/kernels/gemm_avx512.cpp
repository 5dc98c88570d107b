#include "espalier/engine/kernels/lanes_avx512.h"
// after the lanes
#include "espalier/engine/kernels/dense_body.h"
#include "espalier/engine/kernels/gemm_body.h"

namespace espalier {

const GemmKernels kGemmFp32Avx512 = {kLanes, 1, pack_words<Fp32Words>, multiply_block<Fp32Words>};
const ExpandKernels kExpandAvx512 = {expand<Bf16Weights>, expand<Fp16Weights>, expand<Int8Rows>, expand<Int8Groups>};

}  // namespace espalier
