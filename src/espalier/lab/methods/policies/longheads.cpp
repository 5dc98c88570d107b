#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier::longheads_reproduction {
namespace {

constexpr int64_t kTokens = 2048;  // of a text: twice the model's context

// Every query sees 512 tokens, half of the model's context, in 16 chunks as in the paper.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "beyond the trained length chosen chunks find facts that a window or random chunks of as many keys lose, and perplexity stays "
                "where seeing everything fails";
  Json& m = found.measurements;
  const ReproduceContext retrieval = retrieval_context(context);
  const std::map<std::string, std::string> chunks = {{"attention", "512"}, {"chunk", "32"}};
  std::map<std::string, std::string> any_chunks = chunks;
  any_chunks["rank"] = "random";
  const auto needles = [&](const char* name, const std::string& policy, const std::map<std::string, std::string>& options) {
    return run_needles(retrieval, {policy, options, kTokens}, m, name);
  };
  const double perplexity = run_policy(retrieval, {"28-longheads", chunks, kTokens}, m, "longheads");
  const double everything = run_policy(retrieval, {"streaming", {{"budget", "2048"}}, kTokens}, m, "everything");
  const double chosen = needles("longheads", "28-longheads", chunks), random = needles("random_chunks", "28-longheads", any_chunks);
  const double window = needles("window", "streaming", {{"budget", "512"}});
  found.ours = fmt::format("needles over {} tokens with 512 keys: {:.0f} %, random chunks {:.0f} %, a window {:.0f} %; perplexity {:.2f}, seeing everything {:.2f}",
                           kTokens, 100 * chosen, 100 * random, 100 * window, perplexity, everything);
  found.shows = chosen > random && chosen > window && perplexity < everything;
  return found;
}

const RegisterPolicyReproduction registered({"28-longheads", reproduce, true});

}  // namespace
}  // namespace espalier::longheads_reproduction
