// What SPA and the criteria that it makes structured have in common as methods.
#pragma once

#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/channel_removal.h"

namespace espalier {

// Scores sets by a criterion and removes them; option "samples" when the criterion looks at data.
void remove_by_criterion(PruneJob& job, ChannelCriterion criterion, Aggregation aggregation, GroupNormaliser normaliser);

// Channels of any graph, after training. data: "none", "labelled" or "any"; repair: what the paper does for the survivors.
Taxonomy channel_taxonomy(const std::string& criterion, const std::string& data, const std::string& repair);

// Accuracy of the embedded picture model after `method` has removed `share` of the parameters, against random channels
// (mean of 3 seeds).
Reproduction against_random_channels(ReproduceContext& context, const std::string& method, double share, const std::string& claim,
                                     const std::map<std::string, std::string>& options = {});

// The control: half of the parameters as random channels, with two seeds.
Reproduction random_channels_ruin(ReproduceContext& context);

}  // namespace espalier
