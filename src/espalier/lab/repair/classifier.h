// Repairs of classifiers of pictures, on the pictures that the run was given to calibrate on.
//
//   bn        new running statistics of all batch norms (batch_norm.h) from `samples` of the pictures (the run's
//             --samples), `batch` (64) at a time
//   finetune  all weights, on the labels (image_classifier.h)
//   distill   all weights, on the dense model's distribution
// Options of the last two: epochs, or steps (200); batch (64), optimiser (sgd, Nesterov's; or adamw), lr (0.01 of sgd,
// 3e-4 of adamw), momentum (0.9), weight-decay (5e-4; of matrices), smoothing (0), warmup (0 steps), augment (false).
// The rate falls along a cosine to 0.
#pragma once

#include <map>
#include <string>

#include "espalier/lab/repair/options.h"

namespace espalier {

class PruneJob;

// Whether this kind is done here for the job's model.
bool is_classifier_repair(const PruneJob& job, const std::string& kind);

void check_classifier_repair(const std::string& kind, const RepairSettings& given);
void check_classifier_job(const PruneJob& job,
                          const std::string& kind);  // UserError unless model and data suit the kind
RepairSettings classifier_repair_defaults(const std::string& kind);
void repair_classifier(PruneJob& job, const std::string& kind, const RepairSettings& given);

}  // namespace espalier
