#include "espalier/lab/methods/structures/channel_methods.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/lab/methods/picture_arm.h"
#include "espalier/lab/methods/structures/calibration_inputs.h"
#include "espalier/lab/repair/obspa.h"

namespace espalier {

void remove_by_criterion(PruneJob& job, ChannelCriterion criterion, Aggregation aggregation, GroupNormaliser normaliser) {
  const auto samples = [&job] {
    const int64_t count = job.option_int("samples");
    if (count < 1) throw UserError(job.method().id, "option samples", "at least 1", fmt::format("{}", count));
    return count;
  };
  ChannelScoring scoring{criterion, aggregation, normaliser, {}, {}, job.settings().seed};
  scoring.losses = [&] { return loss_batches(job, samples()); };
  scoring.obs_scores = [&](const Graph& graph) {
    return obs_element_scores(graph, calibration_inputs(job, calibration_mode(job, ""), samples()), {.seed = job.settings().seed});
  };
  remove_sets(job, set_removal(job), [&](const Graph& graph, const Coupling& coupling) { return score_sets(graph, coupling, scoring); });
}

Taxonomy channel_taxonomy(const std::string& criterion, const std::string& data, const std::string& repair) {
  return {{"channel", "neuron", "head", "embedding"}, "universal", {"after"}, data, criterion, "", "global", "one-shot", repair, "", {"any"}};
}

Reproduction against_random_channels(ReproduceContext& context, const std::string& method, double share, const std::string& claim,
                                     const std::map<std::string, std::string>& options) {
  const PictureArmRequest ours{.method = method, .sparsity = share, .options = options, .align = 1};
  const double dense = dense_accuracy(context, context.vision_model);
  const double accuracy = picture_arm(context, context.vision_model, ours).top1;
  double random = 0;
  for (uint64_t seed = 0; seed < 3; ++seed)
    random += picture_arm(context, context.vision_model, {.method = "random-channels", .sparsity = share, .seed = seed, .align = 1}).top1 / 3;
  return {claim,
          fmt::format("top-1 of the embedded picture model ({:.1f} % dense) with {:.0f} % of the parameters removed as channels, nothing repaired: {:.1f} %, random channels {:.1f} % (mean of 3 seeds)",
                      100 * dense, 100 * share, 100 * accuracy, 100 * random),
          accuracy > random, {{"dense", dense}, {"ours", accuracy}, {"random", random}}};
}

Reproduction random_channels_ruin(ReproduceContext& context) {
  const double dense = dense_accuracy(context, context.vision_model);
  double top1[2];
  for (uint64_t seed = 0; seed < 2; ++seed)
    top1[seed] = picture_arm(context, context.vision_model, {.method = "random-channels", .sparsity = 0.5, .seed = seed, .align = 1}).top1;
  return {"the control: half of the parameters removed as random channels ruins a classifier, whatever the seed",
          fmt::format("top-1 {:.1f} % and {:.1f} % (two seeds) from {:.1f} %", 100 * top1[0], 100 * top1[1], 100 * dense),
          std::max(top1[0], top1[1]) < 0.7 * dense, {{"dense", dense}, {"seed_0", top1[0]}, {"seed_1", top1[1]}}};
}

}  // namespace espalier
