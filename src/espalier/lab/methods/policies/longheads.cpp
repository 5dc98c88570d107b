#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier {
namespace {

// Windows of 1024 tokens, four times the model's context; every query sees 256.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "beyond the trained length perplexity stays near that within it, where seeing everything fails and a window loses context";
  Json& m = found.measurements;
  const double within = run_policy(context, {"dense", {}}, m, "within_context");
  const double everything = run_policy(context, {"streaming", {{"budget", "1024"}}, 1024}, m, "everything");
  const double heads = run_policy(context, {"28-longheads", {{"attention", "256"}, {"chunk", "64"}}, 1024}, m, "longheads");
  const double finer = run_policy(context, {"28-longheads", {{"attention", "256"}, {"chunk", "32"}}, 1024}, m, "longheads_chunk_32");
  const double window = run_policy(context, {"streaming", {{"budget", "256"}}, 1024}, m, "window");
  found.ours = fmt::format("perplexity over 1024 tokens: {:.2f} with chunks of 64, {:.2f} with 32; everything {:.2f}, "
                           "a window of 256 {:.2f}; within the context {:.2f}", heads, finer, everything, window, within);
  found.shows = heads < 1.02 * within && finer < 1.02 * within && heads < 0.5 * everything && heads < window;
  return found;
}

// The embedded model makes nothing of keys beyond its last 128: a window does as well.
const RegisterPolicyReproduction registered({"28-longheads", reproduce, false});

}  // namespace
}  // namespace espalier
