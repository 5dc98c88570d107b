#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier {
namespace {

// 68 of 256 tokens: 32 found, a window of 32, 4 sinks, in every layer.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "a few keys found by the search serve as well as all, and better than as many at random or in a window";
  Json& m = found.measurements;
  const double dense = run_policy(context, {"dense", {}}, m, "dense");
  const double hip = run_policy(context, {"29-hip", {{"budget", "32"}, {"window", "32"}, {"sink", "4"}, {"dense_layers", "0"}}}, m, "hip");
  const double random = run_policy(context, {"random-tokens", {{"budget", "68"}}}, m, "random");
  const double kept = run_policy(context, {"random-tokens", {{"budget", "68"}, {"sink", "4"}, {"recent", "0.48"}}}, m, "random_beside_window");
  const double window = run_policy(context, {"streaming", {{"budget", "68"}}}, m, "window");
  const double h2o = run_policy(context, {"h2o", {{"budget", "68"}}}, m, "h2o");
  found.ours = fmt::format("perplexity of 68 keys: {:.2f}; random ones {:.2f}, {:.2f} beside the same window; "
                           "the window alone {:.2f}, H2O {:.2f}, all keys {:.2f}", hip, random, kept, window, h2o, dense);
  found.shows = hip < random && hip < kept && hip < window && hip < 1.05 * dense;
  return found;
}

// The embedded model makes nothing of keys beyond its last 128: a window of as many is best.
const RegisterPolicyReproduction registered({"29-hip", reproduce, false});

}  // namespace
}  // namespace espalier
