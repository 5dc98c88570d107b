#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier::hip_reproduction {
namespace {

// Texts of the retrieval model's 1,024 tokens, the paper's blocks of 32 queries and 2 keys, and the smallest window that
// allows them: what the window takes the search does not find.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "half of the keys, found by the search, answer like all of them, and a quarter more often than as many at random, in a window or of H2O";
  Json& m = found.measurements;
  const ReproduceContext retrieval = retrieval_context(context);
  const auto needles = [&](const std::string& name, const std::string& policy, const std::map<std::string, std::string>& options) {
    return run_needles(retrieval, {policy, options}, m, name);
  };
  const double dense = needles("dense", "dense", {});
  double hip[2], others[2];
  std::string text;
  for (const int i : {0, 1}) {
    const int64_t keys = i == 0 ? 512 : 256;
    const std::string budget = std::to_string(keys), found_keys = std::to_string(keys - 36);
    hip[i] = needles("hip_" + budget, "29-hip", {{"budget", found_keys}, {"window", "32"}, {"sink", "4"}, {"dense_layers", "0"}});
    const double random = needles("random_" + budget, "random-tokens", {{"budget", budget}}), window = needles("window_" + budget, "streaming", {{"budget", budget}});
    const double h2o = needles("h2o_" + budget, "h2o", {{"budget", budget}});
    others[i] = std::max({random, window, h2o});
    text += fmt::format("; {} keys: {:.0f} %, random ones {:.0f} %, a window {:.0f} %, H2O {:.0f} %", keys, 100 * hip[i], 100 * random, 100 * window, 100 * h2o);
  }
  found.ours = fmt::format("needles over 1,024 tokens: {:.0f} % with all keys", 100 * dense) + text;
  found.shows = hip[0] > 0.95 * dense && hip[0] > others[0] && hip[1] > others[1];
  return found;
}

const RegisterPolicyReproduction registered({"29-hip", reproduce, true});

}  // namespace
}  // namespace espalier::hip_reproduction
