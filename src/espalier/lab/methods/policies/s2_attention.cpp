#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier {
namespace {

// Blocks of 8 tokens: a band of 4 and one column in 4, on a model that was not trained with them.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "shards that differ by head beat equal ones and a window of as many keys; with half the layers dense quality "
                "is that of dense attention";
  Json& m = found.measurements;
  const auto arm = [&](const char* name, const char* period, const char* homogeneous) {
    return run_policy(context, {"36-s2-attention", {{"block", "8"}, {"local_blocks", "4"}, {"vert_stride", "4"}, {"dense_period", period},
                                                    {"homogeneous", homogeneous}}}, m, name);
  };
  const double dense = run_policy(context, {"dense", {}}, m, "dense");
  const double shards = arm("shards", "0", "0"), equal = arm("equal_shards", "0", "1"), hybrid = arm("half_dense", "2", "0");
  const double window = run_policy(context, {"streaming", {{"sink", "0"}, {"window", "60"}}}, m, "window");
  found.ours = fmt::format("perplexity without training: {:.2f}, equal shards {:.2f}, a window of 60 {:.2f}; "
                           "half the layers dense {:.2f}, all {:.2f}", shards, equal, window, hybrid, dense);
  found.shows = shards < equal && shards < window && hybrid < 1.01 * dense;
  return found;
}

// A window of as many keys is better for a model that was not trained with the pattern.
const RegisterPolicyReproduction registered({"36-s2-attention", reproduce, false});

}  // namespace
}  // namespace espalier
