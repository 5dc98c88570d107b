#include "espalier/engine/simd.h"

#include <array>
#include <cstdlib>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr std::array kLevelNames = {"reference", "avx2", "avx512", "avx512bf16"};

SimdLevel detect() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
    return SimdLevel::kReference;
  for (const bool has : {__builtin_cpu_supports("avx512f") != 0, __builtin_cpu_supports("avx512bw") != 0,
                         __builtin_cpu_supports("avx512dq") != 0, __builtin_cpu_supports("avx512vl") != 0,
                         __builtin_cpu_supports("avx512cd") != 0})
    if (!has) return SimdLevel::kAvx2;
  for (const bool has : {__builtin_cpu_supports("avx512vbmi2") != 0, __builtin_cpu_supports("avx512vnni") != 0,
                         __builtin_cpu_supports("avx512bf16") != 0})
    if (!has) return SimdLevel::kAvx512;
  return SimdLevel::kAvx512Bf16;
}

SimdLevel asked_or(SimdLevel machine) {
  const char* word = std::getenv("ESPALIER_SIMD");
  if (word == nullptr || *word == '\0') return machine;
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (std::string_view(word) != kLevelNames[i]) continue;
    if (static_cast<SimdLevel>(i) > machine)
      throw UserError("ESPALIER_SIMD", "", std::string("at most ") + name_of(machine) + ", which this machine has", word);
    return static_cast<SimdLevel>(i);
  }
  throw UserError("ESPALIER_SIMD", "", "reference, avx2, avx512 or avx512bf16", word);
}

}  // namespace

const char* name_of(SimdLevel level) { return kLevelNames.at(static_cast<size_t>(level)); }

SimdLevel machine_simd_level() {
  static const SimdLevel level = detect();
  return level;
}

std::vector<SimdLevel> machine_simd_levels() {
  std::vector<SimdLevel> levels;
  for (int i = 0; i <= static_cast<int>(machine_simd_level()); ++i) levels.push_back(static_cast<SimdLevel>(i));
  return levels;
}

SimdLevel simd_level() {
  static const SimdLevel level = asked_or(machine_simd_level());
  return level;
}

}  // namespace espalier
