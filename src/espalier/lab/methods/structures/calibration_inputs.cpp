#include "espalier/lab/methods/structures/calibration_inputs.h"

#include <algorithm>

#include "espalier/core/choice.h"
#include "espalier/lab/measure/probe.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, CalibrationMode> kModes[] = {{"id", CalibrationMode::kId}, {"ood", CalibrationMode::kOod}, {"none", CalibrationMode::kNone}};
constexpr int64_t kBatch = 64;
constexpr int64_t kMemory = int64_t{2} << 30;
constexpr int64_t kLiveValues = 4;  // as large as the largest, at one time
constexpr int64_t kNoiseTokens = 128;

// How many samples the values between two layers leave room for.
int64_t samples_that_fit(const Graph& graph) {
  int64_t largest = 1;
  for (const auto& value : graph.values) largest = std::max(largest, element_count(value.shape));
  return std::max<int64_t>(16, kMemory / (4 * kLiveValues * largest));
}

int64_t default_samples(const PruneJob& job, CalibrationMode mode) {
  if (job.model().task == Task::kText) return mode == CalibrationMode::kNone ? kBatch : job.source().samples;
  if (mode != CalibrationMode::kNone) return 256;
  return job.model().image.height * job.model().image.width <= 64 * 64 ? 2048 : 1024;
}

std::vector<GraphInputs> noise(PruneJob& job, int64_t samples) {
  Rng rng = job.rng("noise");
  std::vector<GraphInputs> batches;
  for (int64_t done = 0; done < samples; done += kBatch) {
    const int64_t count = std::min(kBatch, samples - done);
    if (job.model().task != Task::kText) {
      batches.push_back(probe_inputs(job.model(), rng.next(), count));
      continue;
    }
    std::vector<int64_t> ids(static_cast<size_t>(count * std::min(kNoiseTokens, job.model().context_length)));
    for (int64_t& id : ids) id = static_cast<int64_t>(rng.below(static_cast<uint64_t>(job.model().vocab_size)));
    batches.push_back({at::tensor(ids, at::kLong).view({count, -1})});
  }
  return batches;
}

}  // namespace

CalibrationMode calibration_mode(const PruneJob& job, const std::string& name) {
  const bool given = job.has_images() || job.source().tokenizer != nullptr;
  if (name.empty()) return given ? CalibrationMode::kId : CalibrationMode::kNone;
  const CalibrationMode mode = choice_from_name(job.method().id + ": option data", name, kModes);
  if (mode != CalibrationMode::kNone && !given && !job.trial()) user_error("{}: data={} needs data (--calib)", job.method().id, name);
  return mode;
}

std::vector<GraphInputs> calibration_inputs(PruneJob& job, CalibrationMode mode, int64_t samples) {
  if (samples < 0) throw UserError(job.method().id, "option samples", "at least 1", fmt::format("{}", samples));
  const bool text = job.model().task == Task::kText;
  int64_t count = samples ? samples : default_samples(job, mode);
  if (!text) count = std::min(count, samples_that_fit(job.graph()));
  if (mode == CalibrationMode::kNone) return noise(job, count);
  std::vector<GraphInputs> batches;
  if (text) {
    for (const auto& window : job.windows(count, std::min<int64_t>(job.model().context_length, job.source().length))) batches.push_back({token_tensor(window)});
    return batches;
  }
  for (const auto& pixels : job.image_samples(count).pixels.split(kBatch)) batches.push_back({pixels});
  return batches;
}

}  // namespace espalier
