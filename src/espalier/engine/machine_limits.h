// What this machine can do at best, measured now: the yardsticks that timings are printed beside.
#pragma once

#include <cstdint>
#include <vector>

#include "espalier/engine/team.h"

namespace espalier {

// A buffer of several times the last-level cache, read from end to end.
class MemoryStream {
 public:
  MemoryStream();
  double pass(Team& team);       // seconds of one pass of the team's threads together
  double bandwidth(Team& team);  // bytes a second, the best of a few passes
  double bytes() const { return static_cast<double>(words_.size() * sizeof(uint64_t)); }

 private:
  std::vector<uint64_t> words_, sums_;
};

// fp32 FLOP/s of the team's threads together: fused multiply-adds on registers, two FLOPs each, at simd_level().
double peak_flops(Team& team);

}  // namespace espalier
