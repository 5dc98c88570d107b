#include <algorithm>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/system_id.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/lab/methods/catalogue_data.h"
#include "espalier/lab/methods/method.h"
#include "espalier/lab/methods/policy_reproduction.h"

namespace espalier {
namespace {

std::vector<Method>& method_registry() {
  static std::vector<Method> methods;
  return methods;
}

// The taxonomy's closed lists (survey, section A); a word that is not in them is a bug of the method's record.
void check_words(const std::string& id, const char* axis, const std::vector<std::string>& words, const std::set<std::string>& known) {
  for (const auto& word : words) ESP_ASSERT(known.count(word), "method {}: {} '{}'", id, axis, word);
}

void check_taxonomy(const Method& method) {
  const Taxonomy& t = method.taxonomy;
  check_words(method.id, "unit", t.units, {"weight", "nm", "channel", "neuron", "head", "kv", "token", "bit", "sublayer", "layer",
                                           "embedding", "expert", "matrix-atom", "any"});
  check_words(method.id, "speedup", {t.speedup}, {"universal", "specific", "dynamic", "any"});
  check_words(method.id, "when", t.when, {"before", "during", "after", "runtime", "any"});
  check_words(method.id, "data", {t.data}, {"none", "unlabelled", "labelled"});
  check_words(method.id, "scope", {t.scope}, {"local", "group", "global"});
  check_words(method.id, "repair", {t.repair}, {"none", "calibration", "light", "full"});
  check_words(method.id, "family", t.families, {"cnn", "detector", "vit", "bert", "llm", "moe", "vlm", "vla", "any"});
}

Json or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

// A system that is listed but does not work yet, from the survey's coordinates.
Json planned_entry(const Json& record) {
  Json taxonomy = record;
  for (const char* key : {"id", "name", "year", "kind", "units", "families"}) taxonomy.erase(key);
  Json needs = Json::array();
  if (record.at("data") != "none") needs.push_back("data");
  return {{"id", record.at("id")},   {"name", record.at("name")}, {"year", record.at("year")},         {"kind", record.at("kind")},
          {"taxonomy", taxonomy},    {"needs", needs},            {"units", record.at("units")},       {"families", record.at("families")},
          {"options", Json::array()}, {"status", "planned"}};
}

}  // namespace

RegisterMethod::RegisterMethod(Method method) {
  check_taxonomy(method);
  method_registry().push_back(std::move(method));
}

std::vector<const Method*> registered_methods() {
  std::vector<const Method*> methods;
  for (const auto& method : method_registry()) methods.push_back(&method);
  std::sort(methods.begin(), methods.end(), [](auto* a, auto* b) { return a->id < b->id; });
  return methods;
}

const Method& find_method(const std::string& id) {
  std::vector<std::string> known;
  for (const auto* method : registered_methods()) {
    if (answers_to(method->id, id)) return *method;
    known.push_back(method->id);
  }
  for (const auto* policy : registered_policies())
    if (answers_to(policy->id, id)) user_error("--method: {} is an attention policy, which removes nothing from a model: use generate --policy {}", id, id);
  const Json listed = catalogue();
  for (const auto& record : listed)
    if (record.at("status") == "planned" && answers_to(record.at("id").get<std::string>(), id))
      user_error("--method: {} ({}) is planned and does not work yet; those that do: {}", id, record.at("name").get<std::string>(),
                 fmt::join(known, ", "));
  user_error("--method: there is no method '{}'{}; those that work: {}", printable(id), did_you_mean(id, known), fmt::join(known, ", "));
}

Json method_to_json(const Method& method) {
  Json options = Json::array();
  for (const auto& option : method.options)
    options.push_back({{"name", option.name}, {"type", option.type}, {"default", option.value}, {"range", option.range}, {"doc", option.doc}});
  const Taxonomy& t = method.taxonomy;
  const Json taxonomy = {{"speedup", t.speedup}, {"when", t.when},          {"data", t.data},     {"criterion", or_null(t.criterion)},
                         {"learned", or_null(t.learned)}, {"scope", t.scope}, {"schedule", or_null(t.schedule)}, {"repair", t.repair},
                         {"fusion", or_null(t.fusion)}};
  return {{"id", method.id},         {"name", method.name},   {"year", method.year},     {"kind", method.kind},
          {"taxonomy", taxonomy},    {"needs", method.needs}, {"units", t.units},        {"families", t.families},
          {"options", options},      {"of", method.default_of}, {"patterns", method.patterns}, {"status", method.reproduces ? "works" : "runs"}};
}

namespace {

Json options_to_json(const PolicyInfo& policy) {
  Json options = Json::array();
  for (const auto& option : policy.options)
    options.push_back({{"name", option.name}, {"type", option.type}, {"default", option.value}, {"range", option.range}, {"doc", option.doc}});
  return options;
}

const char* status_of(const PolicyInfo& policy) {
  const PolicyReproduction* reproduction = find_policy_reproduction(policy.id);
  return reproduction && reproduction->reproduces ? "works" : "runs";
}

// A system of the survey that is an attention policy: its coordinates are the survey's.
Json policy_to_json(const PolicyInfo& policy, const Json& record) {
  Json entry = planned_entry(record);
  entry["id"] = policy.id, entry["options"] = options_to_json(policy);
  entry["status"] = status_of(policy);
  return entry;
}

// Attention policies register in the engine; those that are no system of the survey are its baselines.
Json policy_to_json(const PolicyInfo& policy) {
  const Json taxonomy = {{"speedup", "dynamic"}, {"when", Json::array({"runtime"})}, {"data", "none"}, {"criterion", policy.summary}, {"learned", nullptr},
                         {"scope", "local"}, {"schedule", "per-input"}, {"repair", "none"}, {"fusion", nullptr}};
  return {{"id", policy.id},  {"name", policy.name},     {"year", policy.year},          {"kind", "AttentionPolicy"},
          {"taxonomy", taxonomy}, {"needs", Json::array()}, {"units", Json::array({"kv"})}, {"families", Json::array({"llm"})},
          {"options", options_to_json(policy)}, {"status", status_of(policy)}};
}

}  // namespace

Json catalogue() {
  Json list = Json::array();
  const Json survey = Json::parse(kCatalogueJson);
  for (const auto& record : survey.at("methods")) {
    const std::string number = record.at("id").get<std::string>();
    const Method* found = nullptr;
    for (const auto* method : registered_methods())
      if (system_number(method->id) == number) found = method;
    const PolicyInfo* policy = nullptr;
    for (const auto* listed : registered_policies())
      if (system_number(listed->id) == number) policy = listed;
    list.push_back(found ? method_to_json(*found) : policy ? policy_to_json(*policy, record) : planned_entry(record));
  }
  for (const auto* method : registered_methods())
    if (system_number(method->id).empty()) list.push_back(method_to_json(*method));
  for (const auto* policy : registered_policies())
    if (system_number(policy->id).empty()) list.push_back(policy_to_json(*policy));
  return list;
}

Json catalogue_entry(const std::string& id) {
  std::vector<std::string> known;
  const Json listed = catalogue();
  for (const auto& entry : listed) {
    known.push_back(entry.at("id").get<std::string>());
    if (answers_to(known.back(), id)) return entry;
  }
  user_error("methods: there is no method '{}'{}; `espalier methods` lists them", printable(id), did_you_mean(id, known));
}

}  // namespace espalier
