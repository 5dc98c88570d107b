#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier::streaming_reproduction {
namespace {

// As many keys with and without the first four tokens.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "a window that has lost the first tokens breaks down; with the first four in its place of the last four it is nearly as good as dense attention";
  Json& m = found.measurements;
  const double dense = run_policy(context, {"dense", {}}, m, "dense");
  found.shows = true;
  for (const int64_t budget : {16, 32, 64}) {
    const auto number = [](int64_t n) { return fmt::format("{}", n); };
    const double sinks = run_policy(context, {"streaming", {{"budget", number(budget)}}}, m, fmt::format("sinks_{}", budget));
    const double window = run_policy(context, {"streaming", {{"sink", "0"}, {"window", number(budget)}}}, m, fmt::format("window_{}", budget));
    found.ours += fmt::format("perplexity with {} keys: {:.2f}, without sinks {:.2f}; ", budget, sinks, window);
    found.shows = found.shows && sinks < window && sinks - dense < (window - dense) / 2;
  }
  found.ours += fmt::format("dense {:.2f}", dense);
  return found;
}

// The embedded model lays no attention on its first tokens that it could not do without: sinks help with 16 keys alone.
const RegisterPolicyReproduction registered({"streaming", reproduce, false});

}  // namespace
}  // namespace espalier::streaming_reproduction
