// What a whole-graph method feeds its model: the job's data, or noise.
#pragma once

#include <string>
#include <vector>

#include "espalier/lab/measure/node_sweep.h"
#include "espalier/lab/methods/job.h"

namespace espalier {

enum class CalibrationMode {
  kId,    // data like the training data (--calib)
  kOod,   // any other data (--calib)
  kNone,  // uniform noise in [0, 1) of the input's shape; uniform token ids
};
// "id", "ood", "none"; empty: id when the request names data, else none.
CalibrationMode calibration_mode(const PruneJob& job, const std::string& name);

// Batches of `samples` pictures or sequences (0: 256 pictures, the request's sequences, or of noise 2048 up to 64 × 64 pixels
// and 1024 above), fewer where the values between two layers would not fit into about 2 GB. UserError: no data.
std::vector<GraphInputs> calibration_inputs(PruneJob& job, CalibrationMode mode, int64_t samples);

}  // namespace espalier
