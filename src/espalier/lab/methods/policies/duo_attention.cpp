#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/rng.h"
#include "espalier/core/scratch_directory.h"
#include "espalier/engine/attention/policies/duo_gates.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier::duo_attention_reproduction {
namespace {

constexpr int64_t kTokens = 1024;  // of a text: the model's context
constexpr int64_t kSinks = 4, kRecent = 16;  // of streaming heads
constexpr int kRandomGates = 5;
constexpr double kMargin = 0.2;  // over heads chosen otherwise
constexpr uint64_t kMostBytes = 1u << 20;  // of a file of gates

// The same number of heads, chosen by other gates of the same shape.
template <typename Gate>
std::string other_gates(Json gates, const std::filesystem::path& file, Gate gate) {
  for (Json& layer : gates.at("gates"))
    for (Json& one : layer) one = gate(one.template get<double>());
  write_file_atomically(file, gates.dump());
  return file.string();
}

// The gates that lie beside the model that retrieves. Half of its KV heads stream.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "with half of the KV heads streaming, chosen by their gates, facts are found as by all, and more than with other heads or a cache of the same size";
  Json& m = found.measurements;
  const ReproduceContext retrieval = retrieval_context(context);
  const ScratchDirectory scratch;
  const std::filesystem::path own = retrieval.model_path / kDuoGatesFile;
  const Json gates = parse_json(read_file(own, kMostBytes), own.string());
  const auto needles = [&](const std::string& name, const std::string& policy, const std::map<std::string, std::string>& options) {
    return run_needles(retrieval, {policy, options, kTokens}, m, name);
  };
  const auto duo = [&](const std::string& name, const std::string& file) {
    return needles(name, "19-duoattention", {{"gates", file}, {"sparsity", "0.5"}, {"sink", fmt::format("{}", kSinks)}, {"recent", fmt::format("{}", kRecent)}, {"chunk", "16"}});
  };
  const double dense = needles("dense", "dense", {}), chosen = duo("duoattention", own.string());
  const double reversed = duo("reversed_gates", other_gates(gates, scratch.path() / "reversed.json", [](double gate) { return 1 - gate; }));
  double random = 0, best = 0;
  for (int seed = 0; seed < kRandomGates; ++seed) {
    Rng rng(static_cast<uint64_t>(seed), "duoattention/control");
    const std::string file = other_gates(gates, scratch.path() / fmt::format("random{}.json", seed), [&](double) { return rng.uniform(); });
    const double by_chance = duo(fmt::format("random_gates_{}", seed), file);
    random += by_chance / kRandomGates, best = std::max(best, by_chance);
  }
  const std::string keys = fmt::format("{}", (kTokens + kSinks + kRecent) / 2);  // that a head sees on average
  const double window = needles("window", "streaming", {{"budget", keys}});
  const double h2o = needles("h2o", "h2o", {{"budget", keys}, {"sink", "4"}, {"recent", "0.5"}});
  found.ours = fmt::format("needles with half of the heads streaming: {:.0f} %, reversed gates {:.0f} %, random ones {:.0f} % (five seeds, the best {:.0f} %); {} keys in a window {:.0f} %, H2O {:.0f} %; "
                           "all heads full {:.0f} %", 100 * chosen, 100 * reversed, 100 * random, 100 * best, keys, 100 * window, 100 * h2o, 100 * dense);
  found.shows = chosen >= 0.8 * dense && chosen >= reversed + kMargin && chosen >= random + kMargin && chosen > window && chosen > h2o;
  return found;
}

const RegisterPolicyReproduction registered({"19-duoattention", reproduce, true});

}  // namespace
}  // namespace espalier::duo_attention_reproduction
