// What this machine can do at best, measured now: the yardsticks that timings are printed beside.
#pragma once

#include "espalier/engine/team.h"

namespace espalier {

// Bytes a second that the team's threads read together from memory, best of several passes over a buffer several times
// the last-level cache.
double stream_bandwidth(Team& team);

// fp32 FLOP/s of the team's threads together: fused multiply-adds on registers, two FLOPs each, at simd_level().
double peak_flops(Team& team);

}  // namespace espalier
