#include "espalier/engine/attention/policy.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/core/system_id.h"

namespace espalier {
namespace {

std::vector<PolicyInfo>& registry() {
  static std::vector<PolicyInfo> policies;
  return policies;
}

template <typename T>
bool parse(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  return !text.empty() && result.ec == std::errc() && result.ptr == end;
}

void check_names(const PolicyInfo& info, const std::map<std::string, std::string>& given) {
  std::vector<std::string> known;
  for (const PolicyOption& option : info.options) known.push_back(option.name);
  for (const auto& [name, value] : given)
    if (std::find(known.begin(), known.end(), name) == known.end())
      user_error("policy {}: there is no option '{}'{}; {}", info.id, printable(name), did_you_mean(name, known),
                 known.empty() ? "it takes none" : fmt::format("expected one of {}", fmt::join(known, ", ")));
}

}  // namespace

RegisterPolicy::RegisterPolicy(PolicyInfo info) { registry().push_back(std::move(info)); }

std::vector<const PolicyInfo*> registered_policies() {
  std::vector<const PolicyInfo*> list;
  for (const PolicyInfo& info : registry()) list.push_back(&info);
  std::sort(list.begin(), list.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
  return list;
}

const PolicyInfo& find_policy(const std::string& id) {
  std::vector<std::string> known;
  for (const PolicyInfo* info : registered_policies()) {
    if (answers_to(info->id, id)) return *info;
    known.push_back(info->id);
  }
  user_error("--policy: expected one of {}, found '{}'{}", fmt::join(known, ", "), printable(id), did_you_mean(id, known));
}

std::unique_ptr<AttentionPolicy> make_policy(const AttentionRequest& request, std::span<const AttentionLayer> layers, int64_t capacity) {
  const PolicyInfo& info = find_policy(request.policy);
  check_names(info, request.options);
  PolicyContext context;
  context.layers = layers, context.capacity = capacity, context.codec = request.codec, context.seed = request.seed;
  context.model = request.model, context.trained = request.trained, context.weight_bytes = request.weight_bytes;
  context.info = &info, context.given = &request.options;
  return info.make(context);
}

std::string PolicyContext::text(const std::string& name) const {
  const auto found = given->find(name);
  if (found != given->end()) return found->second;
  for (const PolicyOption& option : info->options)
    if (option.name == name) return option.value;
  bug(__FILE__, __LINE__, "policy " + info->id + " has no option " + name);
}

size_t PolicyContext::choice(const std::string& name, const std::vector<std::string>& words) const {
  const std::string given_text = text(name);
  const auto found = std::find(words.begin(), words.end(), given_text);
  if (found == words.end()) fail(name, fmt::format("one of {}", fmt::join(words, ", ")), printable(given_text));
  return static_cast<size_t>(found - words.begin());
}

bool PolicyContext::has(const std::string& name) const {
  const auto is_it = [&](const PolicyOption& option) { return option.name == name; };
  return std::any_of(info->options.begin(), info->options.end(), is_it) && !text(name).empty();
}

void PolicyContext::fail(const std::string& name, const std::string& expected, const std::string& found) const {
  throw UserError("policy " + info->id, name, expected, found);
}

int64_t PolicyContext::integer(const std::string& name, int64_t least, int64_t most) const {
  int64_t value = 0;
  const std::string given_text = text(name);
  if (!parse(given_text, value) || value < least || value > most)
    fail(name, fmt::format("a whole number from {} to {}", least, most), printable(given_text));
  return value;
}

int64_t PolicyContext::tokens(const std::string& name, int64_t least) const {
  if (given->count(name) > 0) return integer(name, least, capacity);
  return std::min(capacity, integer(name, least, std::numeric_limits<int64_t>::max()));
}

double PolicyContext::real(const std::string& name, double least, double most) const {
  double value = 0;
  const std::string given_text = text(name);
  if (!parse(given_text, value) || !(value >= least && value <= most))
    fail(name, fmt::format("a number from {} to {}", least, most), printable(given_text));
  return value;
}

int64_t PolicyContext::budget_tokens(int64_t page) const {
  int given_ones = 0;
  for (const char* name : {"budget", "budget_bytes", "share"}) given_ones += has(name);
  if (given_ones != 1) fail("budget", "exactly one of budget, budget_bytes and share", given_ones == 0 ? "none" : std::to_string(given_ones));
  if (has("budget")) return integer("budget", 1, capacity);
  if (has("share")) return 0;
  uint64_t page_bytes = 0;
  for (const AttentionLayer& layer : layers)
    page_bytes += static_cast<uint64_t>(layer.kv_heads) * make_layout(codec, page, layer.head_size, 1).page_bytes;
  const auto most = static_cast<int64_t>(page_bytes) * ((capacity + page - 1) / page);
  const int64_t bytes = integer("budget_bytes", static_cast<int64_t>(page_bytes), std::max(most, static_cast<int64_t>(page_bytes)));
  return std::min<int64_t>(capacity, bytes / static_cast<int64_t>(page_bytes) * page);
}

}  // namespace espalier
