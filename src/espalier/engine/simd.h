// Which instruction sets the kernels may use. Each kernel exists as a plain reference and, where it matters, once more
// for each level, in a translation unit of its own (x_avx2.cpp, x_avx512.cpp, x_avx512bf16.cpp).
#pragma once

#include <string_view>
#include <vector>

namespace espalier {

enum class SimdLevel : int {
  kReference,   // whatever the compiler's baseline is
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // F, BW, DQ, VL, CD
  kAvx512Bf16,  // and VBMI2, VNNI, BF16
};

const char* name_of(SimdLevel level);            // "reference", "avx2", "avx512", "avx512bf16": the words of ESPALIER_SIMD
SimdLevel machine_simd_level();                  // the highest that this machine has
std::vector<SimdLevel> machine_simd_levels();    // all that it has, ascending
// What kernels are chosen by: the environment variable ESPALIER_SIMD where it is set, else the machine's. UserError on
// an unknown word or a level that the machine lacks.
SimdLevel simd_level();

}  // namespace espalier
