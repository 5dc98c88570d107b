#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier::delta_llm_reproduction {
namespace {

constexpr int64_t kTokens = 1024;  // of a text: the model's context

// The threshold at which more than half of the products with keys are skipped.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "half of the products with keys can be skipped at little loss, where a window or random tokens with as many products lose facts";
  Json& m = found.measurements;
  const ReproduceContext retrieval = retrieval_context(context);
  struct Score {
    double needles, perplexity;
  };
  const auto run = [&](const char* name, const std::string& policy, const std::map<std::string, std::string>& options) {
    const PolicyArm arm{policy, options, kTokens};
    const double perplexity = run_policy(retrieval, arm, m, name);
    return Score{run_needles(retrieval, arm, m, name), perplexity};
  };
  const Score dense = run("dense", "dense", {}), delta = run("deltallm", "22-deltallm", {{"threshold", "0.8"}, {"sink", "1"}});
  const double left = m["deltallm"]["key_multiplies"].get<double>() / m["dense"]["key_multiplies"].get<double>();
  const std::string budget = fmt::format("{}", static_cast<int64_t>(left * static_cast<double>(kTokens)));
  const Score window = run("window", "streaming", {{"budget", budget}});
  const Score random = run("random", "random-tokens", {{"budget", budget}, {"recent", "0.5"}, {"sink", "4"}});
  found.ours = fmt::format("{:.0f} % of the products with keys left: needles {:.0f} %, perplexity {:.2f}; all products {:.0f} %, {:.2f}; {} keys in a window {:.0f} %, at random {:.0f} %",
                           100 * left, 100 * delta.needles, delta.perplexity, 100 * dense.needles, dense.perplexity, budget, 100 * window.needles, 100 * random.needles);
  found.shows = left <= 0.5 && delta.needles >= 0.9 * dense.needles && delta.perplexity < 1.02 * dense.perplexity && delta.needles > window.needles &&
                delta.needles > random.needles;
  return found;
}

const RegisterPolicyReproduction registered({"22-deltallm", reproduce, true});

}  // namespace
}  // namespace espalier::delta_llm_reproduction
