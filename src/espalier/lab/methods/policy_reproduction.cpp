#include "espalier/lab/methods/policy_reproduction.h"

#include <algorithm>

#include "espalier/core/system_id.h"
#include "espalier/engine/language_eval.h"

namespace espalier {
namespace {

std::vector<PolicyReproduction>& registry() {
  static std::vector<PolicyReproduction> list;
  return list;
}

}  // namespace

RegisterPolicyReproduction::RegisterPolicyReproduction(PolicyReproduction reproduction) { registry().push_back(std::move(reproduction)); }

std::vector<const PolicyReproduction*> registered_policy_reproductions() {
  std::vector<const PolicyReproduction*> list;
  for (const auto& one : registry()) list.push_back(&one);
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
                        {"keys_scored", found.at("counters").at("keys_scored")}, {"cache_bytes", found.at("cache_bytes")}};
  return found.at("value").get<double>();
}

}  // namespace espalier
