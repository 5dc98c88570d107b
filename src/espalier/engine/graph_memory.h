// The static memory plan: where each storage of a program lies in one workspace.
#pragma once

#include <cstdint>

#include "espalier/engine/ops/lowering.h"

namespace espalier {

// Sets first_step, last_step and offset of every storage that a step reads or writes; returns the bytes of the
// workspace, whose end (from scratch_offset on) is the scratch of all steps. Storages of `inputs` hold from the start,
// those of `outputs` to the end. Storages never share bytes while both hold.
struct MemoryPlan {
  uint64_t bytes = 0, scratch_offset = 0;
};
MemoryPlan plan_memory(Program& program, const std::vector<View>& inputs, const std::vector<View>& outputs);

}  // namespace espalier
