#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier::h2o_reproduction {
namespace {

// An eighth and a fifth of a window of 256 tokens, half of it the latest ones. As many of the latest alone are measured too.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "beside the last tokens, those that were looked at most are worth more than as many random ones";
  Json& m = found.measurements;
  const double dense = run_policy(context, {"dense", {}}, m, "dense");
  found.shows = true;
  for (const char* budget : {"32", "48"}) {
    const auto arm = [&](const std::string& policy, std::map<std::string, std::string> options) {
      if (policy != "streaming") options.insert({{"budget", budget}, {"chunk", "8"}, {"recent", "0.5"}});
      return run_policy(context, {policy, options}, m, fmt::format("{}_{}", policy, budget));
    };
    const double heavy = arm("h2o", {}), random = arm("random-tokens", {}), last = arm("streaming", {{"sink", "0"}, {"window", budget}});
    found.ours += fmt::format("perplexity with {} tokens: {:.2f}, random {:.2f}, the last {:.2f}; ", budget, heavy, random, last);
    found.shows = found.shows && heavy < random;
  }
  found.ours += fmt::format("dense {:.2f}", dense);
  return found;
}

const RegisterPolicyReproduction registered({"h2o", reproduce, true});

}  // namespace
}  // namespace espalier::h2o_reproduction
