#include "espalier/core/error.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier::spatten_reproduction {
namespace {

// The preset's shares of tokens, averaged over quarters of its 24 layers (the first layer sees everything). Facts are asked
// for at the end of a text, so the last tokens stay in any case, for all three rankings.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "the most looked-at tokens are enough to find facts, where as many at random or the least looked-at ones lose them";
  Json& m = found.measurements;
  const ReproduceContext retrieval = retrieval_context(context);
  const auto spatten = [&](const char* rank) {
    return run_needles(retrieval, {"02-spatten", {{"tokens", "1,0.55,0.3,0.3"}, {"recent", "32"}, {"rank", rank}}, 1024}, m, rank);
  };
  const double dense = run_needles(retrieval, {"dense", {}, 1024}, m, "dense");
  const double most = spatten("most"), random = spatten("random"), least = spatten("least");
  found.ours = fmt::format("needles with 54 % of the tokens, the most looked-at: {:.0f} %, random ones {:.0f} %, the least looked-at {:.0f} %, all {:.0f} %",
                           100 * most, 100 * random, 100 * least, 100 * dense);
  found.shows = most >= 0.8 * dense && most > random && most > least;
  return found;
}

const RegisterPolicyReproduction registered({"02-spatten", reproduce, true});

}  // namespace
}  // namespace espalier::spatten_reproduction
