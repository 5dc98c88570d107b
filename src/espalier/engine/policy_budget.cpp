#include "espalier/engine/policy_budget.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <map>

#include "espalier/core/error.h"
#include "espalier/engine/attention/policy.h"

namespace espalier {
namespace {

constexpr int64_t kSinks = 4, kLeast = 16;  // keys: sinks, and a few for each part

struct Asked {
  int64_t budget, length, layers;
  const MethodOptions* given;
  int64_t recent() const { return budget / 2; }
};

std::string text(int64_t value) { return fmt::format("{}", value); }

[[noreturn]] void cannot(const std::string& policy, const Asked& asked, const std::string& expected) {
  throw UserError("--budget", fmt::format("keys for {} in texts of {} tokens", policy, asked.length), expected, text(asked.budget));
}

MethodOptions kept(const Asked& asked) {
  return {{"budget", text(asked.budget)}, {"sink", text(kSinks)}, {"recent", "0.5"}, {"chunk", text(std::min<int64_t>(32, asked.budget / 4))}};
}

MethodOptions streaming(const Asked& asked) { return {{"budget", text(asked.budget)}, {"sink", text(kSinks)}}; }

MethodOptions hip(const Asked& asked) {
  return {{"budget", text(asked.budget - asked.recent() - kSinks)}, {"window", text(asked.recent())}, {"sink", text(kSinks)},
          {"block_q", text(std::min<int64_t>(32, asked.recent()))}, {"dense_layers", "0"}};
}

// Eight chunks, of which two are the nearest and one the first.
MethodOptions longheads(const Asked& asked) {
  const int64_t chunk = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(asked.budget))) / 8;
  return {{"attention", text(asked.budget / chunk * chunk)}, {"chunk", text(chunk)}};
}

// A band, and of the blocks before it one in so many that budget/2 tokens are seen at the text's end.
MethodOptions s2(const Asked& asked) {
  const int64_t block = std::min<int64_t>(16, static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(asked.recent()))));
  const int64_t far = asked.length - asked.recent();
  return {{"block", text(block)}, {"local_blocks", text(asked.recent() / block)}, {"vert_stride", text((far + asked.recent() - 1) / asked.recent())},
          {"dense_period", "0"}};
}

// Streaming heads see half of the budget; as many are full as the other half pays for.
MethodOptions duo(const Asked& asked) {
  const auto budget = static_cast<double>(asked.budget), length = static_cast<double>(asked.length);
  const double full = budget / 2 / (length - budget / 2);
  return {{"sparsity", fmt::format("{:.4f}", 1 - full)}, {"sink", text(kSinks)}, {"recent", text(asked.recent() - kSinks)}, {"chunk", text(std::min<int64_t>(32, asked.budget / 4))}};
}

// The first layer always sees everything; the others share what is left.
MethodOptions spatten(const Asked& asked) {
  if (asked.given->count("tokens") > 0) return {};
  const auto layers = static_cast<double>(asked.layers);
  const double mean = static_cast<double>(asked.budget) / static_cast<double>(asked.length), later = (mean * layers - 1) / (layers - 1);
  if (asked.layers < 2 || !(later > 0))
    cannot("02-spatten", asked, fmt::format("more than a layer's share, {}: the first sees everything", asked.length / std::max<int64_t>(1, asked.layers)));
  std::string shares = "1";
  for (int64_t l = 1; l < asked.layers; ++l) shares += fmt::format(",{:.4f}", later);
  return {{"tokens", shares}, {"recent", text(std::max<int64_t>(1, static_cast<int64_t>(later * static_cast<double>(asked.length) / 2)))}, {"reference", text(asked.length)}};
}

// The token itself is seen beside the budget.
MethodOptions specontext(const Asked& asked) { return {{"budget", text(asked.budget - 1)}}; }

const std::map<std::string, std::function<MethodOptions(const Asked&)>>& rules() {
  static const std::map<std::string, std::function<MethodOptions(const Asked&)>> rules = {
      {"h2o", kept}, {"random-tokens", kept}, {"streaming", streaming}, {"29-hip", hip},
      {"28-longheads", longheads}, {"36-s2-attention", s2}, {"19-duoattention", duo}, {"02-spatten", spatten}, {"05-specontext", specontext}};
  return rules;
}

bool takes(const PolicyInfo& info, const char* name) {
  return std::any_of(info.options.begin(), info.options.end(), [&](const PolicyOption& option) { return option.name == name; });
}

}  // namespace

bool has_budget(const std::string& policy) {
  const PolicyInfo& info = find_policy(policy);
  return rules().count(info.id) > 0 || takes(info, "budget");
}

MethodOptions options_at_budget(const std::string& policy, const MethodOptions& given, int64_t budget, int64_t length, const Decoder& decoder) {
  const PolicyInfo& info = find_policy(policy);
  MethodOptions options = given;
  if (info.id == "dense") return options;
  if (!has_budget(policy)) {
    if (given.empty()) user_error("--policies: {} limits no keys; give its options as {}:NAME=VALUE", info.id, info.id);
    return options;
  }
  const Asked asked{budget, length, static_cast<int64_t>(decoder.model().graph.block_count), &given};
  if (budget < kLeast || budget > length) cannot(info.id, asked, fmt::format("{} to {}", kLeast, length));
  const auto rule = rules().find(info.id);
  const MethodOptions found = rule == rules().end() ? MethodOptions{{"budget", text(budget)}} : rule->second(asked);
  options.insert(found.begin(), found.end());
  return options;
}

MethodOptions options_to_score(const std::string& policy, MethodOptions options) {
  if (takes(find_policy(policy), "prompt")) options.try_emplace("prompt", "1");
  return options;
}

}  // namespace espalier
