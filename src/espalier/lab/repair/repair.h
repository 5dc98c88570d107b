// What the survivors do about it: repairs that any method may be followed by.
#pragma once

#include <map>
#include <string>

#include "espalier/families/family.h"

namespace espalier {

class PruneJob;

// kind: "finetune" (all weights), "lora" and "perp" (perp.h: few parameters, among them low-rank adapters that are merged
// at the end), "distill" (all weights against the dense model's distribution), "ls" (least_squares.h: no training), "bn"
// (batch_norm.h: new running statistics). finetune and distill of classifiers of pictures, and bn: classifier.h. The
// method's masks are kept: removed weights stay zero. Options ("repair.NAME" on the command line): of text models steps,
// lr, batch, length of finetune and distill, damp and iterations of ls; of the others see their headers. Nothing is
// checkpointed: a resumed run repairs anew, to the same bits.
void repair_model(PruneJob& job, const std::string& kind, const std::map<std::string, std::string>& options);

// UserError for an unknown kind, one that models of this task do not have, or an option that it does not take: what can
// be said before any work. With a job also when the model or its data do not suit the kind.
void check_repair(const std::string& kind, const std::map<std::string, std::string>& options, Task task = Task::kText);
void check_repair(const PruneJob& job, const std::string& kind, const std::map<std::string, std::string>& options);

// What a kind's options are when they are not given, without those that are chosen from the model or other options.
std::map<std::string, std::string> repair_defaults(const std::string& kind, Task task = Task::kText);

}  // namespace espalier
