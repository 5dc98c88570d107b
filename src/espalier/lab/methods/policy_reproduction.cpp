#include "espalier/lab/methods/policy_reproduction.h"

#include <algorithm>

#include "espalier/core/assets.h"
#include "espalier/core/system_id.h"
#include "espalier/engine/language_eval.h"
#include "espalier/engine/open.h"

namespace espalier {
namespace {

constexpr int64_t kTexts = 16;  // with a needle, of each of five depths

std::vector<PolicyReproduction>& reproduction_registry() {
  static std::vector<PolicyReproduction> list;
  return list;
}

}  // namespace

RegisterPolicyReproduction::RegisterPolicyReproduction(PolicyReproduction reproduction) { reproduction_registry().push_back(std::move(reproduction)); }

std::vector<const PolicyReproduction*> registered_policy_reproductions() {
  std::vector<const PolicyReproduction*> list;
  for (const auto& one : reproduction_registry()) list.push_back(&one);
  std::sort(list.begin(), list.end(), [](auto* a, auto* b) { return a->id < b->id; });
  return list;
}

const PolicyReproduction* find_policy_reproduction(const std::string& id) {
  for (const auto* one : registered_policy_reproductions())
    if (answers_to(one->id, id)) return one;
  return nullptr;
}

double run_policy(const ReproduceContext& context, const PolicyArm& arm, Json& measurements, const std::string& name) {
  EvalRequest request;
  request.common.seed = context.seed;
  request.model = context.model_path.string(), request.data = context.evaluation.string();
  request.metric = "ppl", request.limit = context.evaluation_tokens, request.length = arm.length;
  request.engine.policy = arm.policy;
  request.engine.options.insert(arm.options.begin(), arm.options.end());
  const Json found = evaluate_language(request);
  measurements[name] = {{"perplexity", found.at("value")}, {"keys_attended", found.at("counters").at("keys_attended")},
                        {"keys_scored", found.at("counters").at("keys_scored")}, {"key_multiplies", found.at("counters").at("key_multiplies")},
                        {"cache_bytes", found.at("cache_bytes")}};
  return found.at("value").get<double>();
}

ReproduceContext retrieval_context(const ReproduceContext& context) {
  ReproduceContext retrieval = context;
  retrieval.model_path = resolve_model(kEmbeddedRetrievalModel);
  retrieval.tokenizer = Tokenizer::load(retrieval.model_path);
  return retrieval;
}

double run_needles(const ReproduceContext& context, const PolicyArm& arm, Json& measurements, const std::string& name) {
  EvalRequest request;
  request.common.seed = context.seed;
  request.model = context.model_path.string(), request.data = context.evaluation.string();
  request.metric = "needle", request.limit = kTexts, request.length = arm.length > 0 ? arm.length : open_decoder(request.model, {}, {})->context_length();
  request.engine.policy = arm.policy;
  request.engine.options.insert(arm.options.begin(), arm.options.end());
  const Json found = evaluate_language(request);
  measurements[name]["needles"] = found.at("value"), measurements[name]["needles_ci95"] = found.at("ci95");
  measurements[name]["token_accuracy"] = found.at("token_accuracy");
  return found.at("value").get<double>();
}

}  // namespace espalier
