#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier::specontext_reproduction {
namespace {

// A quarter of 256 tokens, in every step from the first; the head is the model's first layer, which took no training.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "a quarter of the tokens, which a small head finds before the layers run, serves better than as many at random or the last ones";
  Json& m = found.measurements;
  const auto specontext = [&](const char* sets, const char* name) {
    return run_policy(context, {"05-specontext", {{"budget", "64"}, {"prompt", "1"}, {"head", "layer0"}, {"sets", sets}}}, m, name);
  };
  const double dense = run_policy(context, {"dense", {}}, m, "dense");
  const double ours = specontext("kv-head", "specontext"), one_set = specontext("all", "one_set");
  const double random = run_policy(context, {"random-tokens", {{"budget", "65"}, {"chunk", "1"}}}, m, "random");
  const double window = run_policy(context, {"streaming", {{"budget", "65"}}}, m, "window");
  found.ours = fmt::format("perplexity of 64 tokens and the query's own: {:.2f}, one set for all heads {:.2f}; random ones {:.2f}, first and last ones "
                           "{:.2f}, all tokens {:.2f}", ours, one_set, random, window, dense);
  found.shows = ours < random && ours < window;
  return found;
}

// The embedded model lives on its last tokens, which a head that knows no context does not look for.
const RegisterPolicyReproduction registered({"05-specontext", reproduce, false});

}  // namespace
}  // namespace espalier::specontext_reproduction
