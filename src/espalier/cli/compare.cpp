// espalier compare MODEL --methods A,B --sparsity 0.2,0.5 --data DATA
#include <algorithm>
#include <charconv>

#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

constexpr int64_t kMost = int64_t{1} << 40;

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
      : Verb("compare", "several methods at several sparsities: one table and one Pareto plot",
             "espalier compare {model} --methods magnitude,wanda --sparsity 0.3,0.5 --limit 4000") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, request_.model)->required();
    add_text(app, "--methods", methods_, "METHOD,…", "ids, each with its options as ID:name=value:name=value");
    add_text(app, "--sparsity", sparsities_, "S,…", "shares to remove, in [0, 1)");
    add_choice(app, "--of", of_, kBudgets, "of what they are shares; by default each method's own");
    add_text(app, "--data", request_.data, "DATA", "what quality is measured on; an embedded text by default");
    add_text(app, "--calib", request_.calib.data, "DATA", "calibration data; by default an embedded sample");
    add_integer(app, "--samples", request_.calib.samples, 1, kMost, "calibration sequences or images");
    add_integer(app, "--length", request_.calib.length, 0, kMost, "tokens a sequence; 0: the model's context");
    add_choice(app, "--repair", repair_, kRepairs, "after every method; distances are measured before it");
    add_texts(app, "--set", settings_, "NAME=VALUE", "an option of the repair, as repair.NAME=VALUE (repeatable)");
    add_integer(app, "--limit", request_.limit, 0, kMost, "tokens or images at most; 0: all");
    add_integer(app, "--align", request_.align, 1, 4096, "widths that remain are multiples of this");
    add_text(app, "-o,--out", request_.out, "DIR", "rows.json, pareto.svg and report.html go there; runs can be resumed");
    app.add_flag("--force", request_.force, "replace an existing result");
    app.add_flag("--resume", request_.resume, "go on with the run that was cut short");
  }

  bool complete(CLI::App&) override {
    if (methods_.empty()) user_error("--methods: missing; `espalier methods` lists them");
    if (sparsities_.empty()) user_error("--sparsity: missing: which shares shall be removed?");
    if (request_.resume && request_.out.empty()) user_error("--resume: needs --out, where the run was kept");
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
    return lab().compare(request_);
  }

  std::string text(const Json& rows) override;

 private:
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
    step.options = parse_settings({parts.begin() + 1, parts.end()});
    if (!repair_.empty()) step.repair = repair_;
    step.options.insert(repair_options.begin(), repair_options.end());
    return step;
  }

  CompareRequest request_;
  std::string methods_, sparsities_, of_, repair_;
  std::vector<std::string> settings_;
};

std::string number(const Json& row, const char* key, const char* form) {
  const Json value = row.value(key, Json());
  return value.is_number() ? fmt::format(fmt::runtime(form), value.get<double>()) : "-";
}

std::string CompareVerb::text(const Json& rows) {
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
  std::string text = table.str() + errors;
  if (!request_.out.empty()) text += fmt::format("written to {}\n", request_.out);
  return text;
}

CompareVerb compare_verb;

}  // namespace
}  // namespace espalier
