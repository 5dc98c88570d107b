// Reproductions of attention policies, which remove nothing from a model: perplexity through the engine, beside other
// policies. A static object in lab/methods/policies/ registers each.
#pragma once

#include <string>
#include <vector>

#include "espalier/lab/methods/reproduce.h"

namespace espalier {

struct PolicyReproduction {
  std::string id;  // of the policy
  Reproduction (*reproduce)(ReproduceContext&);
  bool reproduces;  // does the effect show on the embedded model? A test holds it true to that
};

struct RegisterPolicyReproduction {
  explicit RegisterPolicyReproduction(PolicyReproduction reproduction);
};

std::vector<const PolicyReproduction*> registered_policy_reproductions();  // by id
const PolicyReproduction* find_policy_reproduction(const std::string& id);  // or number, or word; null: there is none

// The embedded language model on the evaluation text under a policy, in windows of `length` tokens (0: its context).
struct PolicyArm {
  std::string policy;
  std::map<std::string, std::string> options;
  int64_t length = 0;
};
// Adds perplexity, counters and bytes to measurements[name]; returns the perplexity.
double run_policy(const ReproduceContext& context, const PolicyArm& arm, Json& measurements, const std::string& name);

// The embedded model that was trained to retrieve, instead of the other language model.
inline constexpr const char* kEmbeddedRetrievalModel = "espalier-needle";
ReproduceContext retrieval_context(const ReproduceContext& context);
// Numbers hidden in the evaluation text, in texts of arm.length tokens (0: the model's context): adds exact answers and
// right tokens to measurements[name]; returns the share of exact answers.
double run_needles(const ReproduceContext& context, const PolicyArm& arm, Json& measurements, const std::string& name);

}  // namespace espalier
