// What the survivors do about it: repairs that any method may be followed by.
#pragma once

#include <map>
#include <string>

namespace espalier {

class PruneJob;

// kind: "finetune" (all weights), "lora" (low-rank adapters on every Linear of the blocks, merged at the end), "distill"
// (all weights against the dense model's distribution). The method's masks are kept: removed weights get no
// gradient and stay zero. Options ("repair.NAME" on the command line): steps, lr, rank, alpha, batch, length.
void repair_model(PruneJob& job, const std::string& kind, const std::map<std::string, std::string>& options);

}  // namespace espalier
