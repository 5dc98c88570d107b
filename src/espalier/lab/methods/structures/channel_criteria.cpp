// Baselines: the usual criteria of channel pruning, each as a method of its own (08-spa has them all as an option), with
// the scope that their papers have: the same share of every layer, or one ranking.
#include "espalier/lab/methods/structures/channel_methods.h"

namespace espalier::channel_criteria_method {
namespace {

template <ChannelCriterion kCriterion>
void prune(PruneJob& job) {
  remove_by_criterion(job, kCriterion, Aggregation::kSum, GroupNormaliser::kMean);
}

Method channel_method(const std::string& id, const std::string& name, int year, Taxonomy taxonomy, void (*prune_with)(PruneJob&),
                      Reproduction (*reproduce)(ReproduceContext&), const std::string& scope = "layer") {
  Method method{.id = id, .name = name, .year = year, .kind = "OneShot", .taxonomy = std::move(taxonomy)};
  if (method.taxonomy.data != "none") {
    method.needs = {"data", "gradients"};
    method.options = {{"samples", "int", "256", "> 0", "labelled pictures, or sequences, for the gradients"}};
  }
  method.options = set_removal_options(scope, method.options);
  method.default_of = "params";
  method.of = {"flops", "bytes", "latency"};
  method.prune = prune_with;
  method.reproduce = reproduce;
  return method;
}

const RegisterMethod l1(channel_method("l1-channels", "L1 channels", 2017, channel_taxonomy("magnitude", "none", "full"), prune<ChannelCriterion::kL1>,
                                       [](ReproduceContext& context) {
                                         return against_random_channels(context, "l1-channels", 0.2, "channels of small weights can go first");
                                       }));

const RegisterMethod l2(channel_method("l2-channels", "L2 channels", 2017, channel_taxonomy("magnitude", "none", "full"), prune<ChannelCriterion::kL2>,
                                       [](ReproduceContext& context) {
                                         return against_random_channels(context, "l2-channels", 0.2, "channels of small squared weights can go first");
                                       }));

// Network Slimming's ranking, without its training of the scales towards zero.
const RegisterMethod bn_scale(channel_method("bn-scale", "Batch-norm scale", 2017, channel_taxonomy("norm scale", "none", "full"), prune<ChannelCriterion::kBnScale>,
                                             [](ReproduceContext& context) {
                                               return against_random_channels(context, "bn-scale", 0.2, "channels with a small batch-norm scale can go first");
                                             }, "global"));

const RegisterMethod taylor(channel_method("taylor-channels", "Taylor channels", 2019, channel_taxonomy("first order (Taylor)", "labelled", "full"),
                                           prune<ChannelCriterion::kTaylor>, [](ReproduceContext& context) {
                                             return against_random_channels(context, "taylor-channels", 0.2, "weight times gradient finds channels that can go");
                                           }, "global"));

const RegisterMethod fpgm(channel_method("fpgm", "FPGM", 2019, channel_taxonomy("distance to the other filters", "none", "full"), prune<ChannelCriterion::kFpgm>,
                                         [](ReproduceContext& context) {
                                           return against_random_channels(context, "fpgm", 0.2, "filters near the geometric median of their layer are replaceable");
                                         }));

const RegisterMethod random(channel_method("random-channels", "Random channels", 0, channel_taxonomy("none: uniform random scores", "none", "none"),
                                           prune<ChannelCriterion::kRandom>, [](ReproduceContext& context) {
                                             return random_channels_ruin(context);
                                           }));

}  // namespace
}  // namespace espalier::channel_criteria_method
