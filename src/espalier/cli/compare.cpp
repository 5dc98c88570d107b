// espalier compare MODEL --methods A,B --sparsity 0.2,0.5 --data DATA
// espalier compare MODEL --policies A,B --budget 64,128 --data DATA
#include <algorithm>
#include <charconv>

#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/system_id.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/needle_text.h"
#include "espalier/requests/policy_text.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == by) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

class CompareVerb : public Verb {
 public:
  CompareVerb()
      : Verb("compare", "several methods at several sparsities, or attention policies at several budgets: one table and plots",
             "espalier compare {model} --methods magnitude,wanda --sparsity 0.3,0.5 --limit 4000") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, request_.model)->required();
    add_text(app, "--methods", methods_, "METHOD,…", "ids, each with its options as ID:name=value:name=value");
    add_text(app, "--sparsity", sparsities_, "S,…", "shares to remove, in [0, 1)");
    add_choice(app, "--of", of_, kBudgets, "of what they are shares; by default each method's own");
    add_texts(app, "--policies", policies_, "METHOD,…", "instead of --methods: attention policies, each with its options as ID:name=value; dense, streaming, h2o and random-tokens always take part");
    add_text(app, "--budget", budgets_, "N,…", "with --policies: keys that a query may attend to");
    add_text(app, "--data", request_.data, "DATA", "what quality is measured on; an embedded text by default");
    add_text(app, "--calib", request_.calib.data, "DATA", "calibration data; by default an embedded sample");
    add_integer(app, "--samples", request_.calib.samples, 1, kMostTokens, "calibration sequences or images");
    add_integer(app, "--length", request_.calib.length, 0, kMostTokens, "tokens a sequence, with --policies of windows, needle texts and the timed prompt; 0: the model's context");
    add_integer(app, "--texts", policy_request_.texts, 1, kMostTokens, "with --policies: texts with needles, of each depth");
    add_integer(app, "--needles", policy_request_.needles, 1, NeedleMaker::kMostNeedles, "with --policies: numbers hidden in a text");
    add_integer(app, "--depths", policy_request_.depths, 1, 1000, "with --policies: depths that are told apart");
    add_choice(app, "--cache", policy_request_.engine.cache, {"fp32", "bf16", "int8"}, "with --policies: how keys and values are stored");
    add_choice(app, "--repair", repair_, kRepairs, "after every method; distances are measured before it");
    add_texts(app, "--set", settings_, "NAME=VALUE", "an option of the repair, as repair.NAME=VALUE (repeatable)");
    add_integer(app, "--limit", request_.limit, 0, kMostTokens, "tokens or images at most; 0: all");
    add_integer(app, "--align", request_.align, 1, 4096, "widths that remain are multiples of this");
    add_text(app, "-o,--out", request_.out, "DIR", "rows.json, plots and report.html go there; runs can be resumed");
    app.add_flag("--force", request_.force, "replace an existing result");
    app.add_flag("--resume", request_.resume, "go on with the run that was cut short");
  }

  bool complete(CLI::App&) override {
    if (request_.resume && request_.out.empty()) user_error("--resume: needs --out, where the run was kept");
    if (!policies_.empty() || !budgets_.empty()) return complete_policies();
    if (methods_.empty()) user_error("--methods: missing; `espalier methods` lists them");
    if (sparsities_.empty()) user_error("--sparsity: missing: which shares shall be removed?");
    for (const auto& text : split(sparsities_, ',')) request_.sparsities.push_back(share(text));
    std::sort(request_.sparsities.begin(), request_.sparsities.end());
    const MethodOptions repair_options = parse_settings(settings_);
    for (const auto& [name, value] : repair_options)
      if (!name.starts_with("repair.")) user_error("--set: {}: options of a method go into --methods, as ID:{}={}", name, name, value);
    for (const auto& text : split(methods_, ',')) request_.arms.push_back(arm(text, repair_options));
    return false;
  }

  Json run() override {
    resolve_model(request_.model);
    for (const auto& data : {request_.calib.data, request_.data})
      if (!data.empty()) resolve_data(data);
    if (!by_policy()) return lab().compare(request_);
    policy_request_.common = request_.common;
    return lab().compare_policies(policy_request_);
  }

  std::string text(const Json& rows) override { return (by_policy() ? policy_text(rows) : method_text(rows)) + written(); }

 private:
  bool by_policy() const { return !policies_.empty(); }
  std::string written() const { return request_.out.empty() ? "" : fmt::format("written to {}\n", request_.out); }
  std::string method_text(const Json& rows) const;
  std::string policy_text(const Json& rows) const;

  bool complete_policies() {
    if (policies_.empty()) user_error("--policies: missing; `espalier methods --kind AttentionPolicy` lists them");
    if (budgets_.empty()) user_error("--budget: missing: how many keys may a query attend to?");
    if (!methods_.empty() || !sparsities_.empty()) user_error("--policies: compares attention policies, --methods what is removed from the model: give one of them");
    for (const auto& text : split(budgets_, ',')) policy_request_.budgets.push_back(budget(text));
    std::sort(policy_request_.budgets.begin(), policy_request_.budgets.end());
    for (const auto& text : policies_)
      for (const auto& policy : split_policies(text)) {
        policy_request_.arms.push_back(policy_from_text(policy, "--policies"));
        find_policy(policy_request_.arms.back().policy);
      }
    auto& r = policy_request_;
    r.model = request_.model, r.data = request_.data, r.limit = request_.limit, r.length = request_.calib.length;
    r.out = request_.out, r.force = request_.force, r.resume = request_.resume;
    for (auto& arm : r.arms) arm.cache = r.engine.cache;
    return false;
  }

  static int64_t budget(const std::string& text) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 1)
      throw UserError("--budget", "keys", "numbers from 1, with commas between them", "'" + printable(text) + "'");
    return value;
  }

  // At commas; but a comma inside an option's value is followed by no policy.
  static std::vector<std::string> split_policies(const std::string& text) {
    const auto known = [](const std::string& part) {
      const auto policies = registered_policies();
      return std::any_of(policies.begin(), policies.end(), [&](const auto* policy) { return answers_to(policy->id, part.substr(0, part.find(':'))); });
    };
    std::vector<std::string> policies;
    for (const auto& part : split(text, ','))
      if (!policies.empty() && policies.back().find('=') != std::string::npos && !known(part)) policies.back() += "," + part;
      else policies.push_back(part);
    return policies;
  }

  static double share(const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !(value >= 0 && value < 1))
      throw UserError("--sparsity", "share", "numbers in [0, 1), with commas between them", "'" + printable(text) + "'");
    return value;
  }

  StepRequest arm(const std::string& text, const MethodOptions& repair_options) const {
    auto parts = split(text, ':');
    StepRequest step;
    step.method = parts.front();
    step.of = of_;
    step.options = parse_settings({parts.begin() + 1, parts.end()}, "--methods");
    if (!repair_.empty()) step.repair = repair_;
    step.options.insert(repair_options.begin(), repair_options.end());
    return step;
  }

  CompareRequest request_;
  PolicyCompareRequest policy_request_;
  std::string methods_, sparsities_, of_, repair_, budgets_;
  std::vector<std::string> settings_, policies_;
};

std::string number(const Json& row, const char* key, const char* form) {
  const Json value = row.value(key, Json());
  return value.is_number() ? fmt::format(fmt::runtime(form), value.get<double>()) : "-";
}

std::string CompareVerb::method_text(const Json& rows) const {
  const bool perplexity = rows.at(0).at("metric") == "ppl";
  Table table({"method", "sparsity", "reached", "of", perplexity ? "perplexity" : "accuracy", "95 % interval", "KL", "agree", "parameters", "not zero", "FLOPs", "time"});
  std::string errors;
  for (const Json& row : rows) {
    if (row.contains("error")) {
      errors += fmt::format("{} {}: {}\n", shown(row["method"]), number(row, "sparsity", "{:.3g}"), shown(row["error"]));
      continue;
    }
    const Json& ci = row.at("ci95");
    table.add({shown(row["method"]), number(row, "sparsity", "{:.3g}"), number(row, "reached", "{:.3f}"), shown(row["of"]), number(row, "value", "{:.5g}"),
               fmt::format("{:.5g} to {:.5g}", ci[0].get<double>(), ci[1].get<double>()), number(row, "kl", "{:.4f}"), number(row, "top1_agreement", "{:.3f}"),
               human_count(row["params"].get<double>()), human_count(row["nonzero"].get<double>()), human_count(row["flops"].get<double>()),
               number(row, "forward_ratio", "{:.2f} x")});
  }
  return table.str() + errors;
}

std::string CompareVerb::policy_text(const Json& rows) const {
  Table table({"policy", "budget", "perplexity", "95 % interval", "needles", "95 % interval", "tokens right", "keys", "fast bytes", "slow bytes", "prefill", "decode", "cache", "resident"});
  std::string errors;
  for (const Json& row : rows) {
    if (row.contains("error")) {
      errors += fmt::format("{} {}: {}\n", shown(row["policy"]), shown(row["budget"]), shown(row["error"]));
      continue;
    }
    const auto interval = [&](const char* key, const char* form) {
      return fmt::format(fmt::runtime(form), row.at(key)[0].get<double>()) + " to " + fmt::format(fmt::runtime(form), row.at(key)[1].get<double>());
    };
    const auto bytes = [&](const char* key) { return human_bytes(row.at(key).get<uint64_t>()); };
    table.add({shown(row["policy"]), shown(row["budget"]), number(row, "ppl", "{:.2f}"), interval("ppl_ci95", "{:.2f}"), number(row, "needle", "{:.3f}"),
               interval("needle_ci95", "{:.2f}"), number(row, "token_accuracy", "{:.3f}"), number(row, "keys", "{:.0f}"), bytes("fast_bytes"), bytes("slow_bytes"),
               number(row, "prefill_ms", "{:.1f} ms"), number(row, "decode_ms", "{:.3f} ms"), bytes("cache_bytes"), bytes("resident_bytes")});
  }
  return table.str() + errors;
}

CompareVerb compare_verb;

}  // namespace
}  // namespace espalier
