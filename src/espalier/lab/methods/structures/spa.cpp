// 08 SPA (2024): any criterion for single weights, summed over coupled sets of any graph, ranks what goes.
#include "espalier/core/error.h"
#include "espalier/lab/methods/structures/calibration_inputs.h"
#include "espalier/lab/methods/structures/channel_methods.h"
#include "espalier/lab/repair/obspa.h"

namespace espalier::spa_method {
namespace {

void prune(PruneJob& job) {
  const std::string name = job.option_text("criterion");
  remove_by_criterion(job, channel_criterion(name), parse_aggregation(job.option_text("aggregation")), parse_group_normaliser(job.option_text("normaliser")));
}

Reproduction reproduce(ReproduceContext& context) {
  return against_random_channels(context, "08-spa", 0.3,
                                 "any criterion becomes a structured one by summing it over coupled sets: channels chosen by it are better than random ones, on any architecture (here the squared first-order term)",
                                 {{"criterion", "fisher"}});
}

const RegisterMethod registered(
    {.id = "08-spa",
     .name = "SPA",
     .year = 2024,
     .kind = "OneShot",
     .taxonomy = channel_taxonomy("any (magnitude, first order, second order, filter distance)", "none", "none"),
     .needs = {},
     .options = set_removal_options("global", {{"criterion", "text", "l1", "l1, l2, taylor, fisher, grasp, bn-scale, fpgm, random, obs", "what a single weight (fpgm, bn-scale: a channel) is worth; taylor, fisher and grasp need labelled data or text (--calib)"},
                                               {"aggregation", "text", "sum", "sum, mean, max, prod", "from the slices of a set to its score"},
                                               {"normaliser", "text", "mean", "mean, max, sum, none", "what a group's scores are divided by"},
                                               {"samples", "int", "256", "> 0", "pictures or sequences for gradients and for obs"}}),
     .default_of = "params",
     .of = {"flops", "bytes", "latency"},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::spa_method
