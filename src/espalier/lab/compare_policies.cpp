#include "espalier/lab/compare_policies.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/progress.h"
#include "espalier/core/run_dir.h"
#include "espalier/core/signals.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/open.h"
#include "espalier/engine/policy_budget.h"
#include "espalier/engine/policy_measure.h"
#include "espalier/lab/report/heat_map.h"
#include "espalier/lab/report/pareto.h"

namespace espalier {
namespace {

const std::vector<std::string> kPolicyColumns = {"policy", "budget", "ppl", "needle", "token_accuracy", "keys", "fast_bytes", "slow_bytes", "prefill_ms", "decode_ms", "cache_bytes", "resident_bytes", "error"};
constexpr const char* kPolicyControls[] = {"streaming", "h2o", "random-tokens"};

std::string policy_label(const EngineRequest& arm) {
  std::string label = find_policy(arm.policy).id;
  for (const auto& [name, value] : arm.options) label += fmt::format(":{}={}", name, value);
  return label;
}

// What was asked for, dense first and the controls last, each once.
std::vector<EngineRequest> arms_of(const PolicyCompareRequest& request) {
  std::vector<EngineRequest> arms;
  const auto add = [&](const EngineRequest& arm) {
    const std::string label = policy_label(arm);
    if (std::none_of(arms.begin(), arms.end(), [&](const auto& other) { return policy_label(other) == label; })) arms.push_back(arm);
  };
  const auto add_named = [&](const char* policy) {
    EngineRequest arm = request.engine;
    arm.policy = policy;
    add(arm);
  };
  add_named("dense");
  for (const auto& arm : request.arms) add(arm);
  for (const char* control : kPolicyControls) add_named(control);
  return arms;
}

// x: keys that a decoded token attends to.
std::string policy_plot(const Json& rows, const std::string& title, const char* key, const char* interval, const std::string& label, bool higher_is_better) {
  ParetoPlot plot{title, "keys that a decoded token attends to", label, higher_is_better, {}};
  double dense = 0;
  for (const Json& row : rows) {
    if (row.contains("error")) continue;
    const double value = row.at(key).get<double>();
    if (dense == 0) dense = value;
    if (!higher_is_better && !(value < 20 * dense)) continue;  // an explosion would flatten all others
    const std::string policy = row.at("policy").get<std::string>();
    auto series = std::find_if(plot.series.begin(), plot.series.end(), [&](const auto& s) { return s.name == policy; });
    if (series == plot.series.end()) series = plot.series.insert(series, {policy, {}});
    series->points.push_back({row.at("keys").get<double>(), value, row.at(interval)[0].get<double>(), row.at(interval)[1].get<double>(),
                              fmt::format("{} {}: {:.4g}", policy, row.at("budget").dump(), value)});
  }
  return pareto_svg(plot);
}

void write_policy_report(const std::filesystem::path& directory, const Json& rows, const std::string& model) {
  const std::string perplexity = policy_plot(rows, model, "ppl", "ppl_ci95", "perplexity", false);
  const std::string needle = policy_plot(rows, model, "needle", "needle_ci95", "needles found", true);
  std::string maps;
  for (const Json& row : rows)
    if (!row.contains("error"))
      maps += heat_map_svg(needle_heat_map(row.at("needle_cells"), row.at("budget").is_null() ? row.at("policy").get<std::string>()
                                                                                             : fmt::format("{}, {} keys", row.at("policy").get<std::string>(), row.at("budget").dump())));
  write_file_atomically(directory / "rows.json", rows.dump(1) + "\n");
  write_file_atomically(directory / "perplexity.svg", perplexity);
  write_file_atomically(directory / "needle.svg", needle);
  write_file_atomically(directory / "report.html", report_page(fmt::format("{}: attention policies compared", model), perplexity + needle + maps, rows, kPolicyColumns));
}

}  // namespace

Json run_policy_compare(const PolicyCompareRequest& request) {
  const auto decoder = open_decoder(request.model, request.common, request.engine);
  const auto arms = arms_of(request);
  const int64_t length = policy_length(*decoder, request);
  const auto data = resolve_data(request.data.empty() ? "evaluation.txt" : request.data);
  for (const auto& arm : arms)  // what is wrong whatever the budget is said before any work
    if (!has_budget(arm.policy)) options_at_budget(arm.policy, arm.options, length, length, *decoder);
  for (int64_t budget : request.budgets)
    if (budget > length) throw UserError("--budget", "keys", fmt::format("at most the {} tokens of a text (--length)", length), fmt::format("{}", budget));
  std::optional<RunDirectory> run;
  if (!request.out.empty()) {
    Json labels = Json::array();
    for (const auto& arm : arms) labels.push_back(policy_label(arm));
    const Json fingerprint = {{"espalier", ESPALIER_VERSION}, {"compare-policies", decoder->model().path.string()}, {"data", data.string()}, {"policies", labels},
                              {"budgets", request.budgets}, {"length", length}, {"limit", request.limit}, {"texts", request.texts}, {"needles", request.needles},
                              {"depths", request.depths}, {"cache", request.engine.cache}, {"dtype", request.common.dtype}, {"seed", request.common.seed}, {"threads", request.common.threads}};
    run.emplace(request.out, fingerprint, RunOptions{request.force, request.resume, decoder->model().path});
    if (run->finished_result()) return *run->finished_result();
  }
  const auto work = [&] {
    Json rows = Json::array();
    struct Task {
      const EngineRequest* arm;
      int64_t budget;
    };
    std::vector<Task> tasks;
    for (const auto& arm : arms)
      if (!has_budget(arm.policy)) tasks.push_back({&arm, 0});
      else for (int64_t budget : request.budgets) tasks.push_back({&arm, budget});
    Progress progress("compare", static_cast<int64_t>(tasks.size()), "run");
    for (const auto& [arm, budget] : tasks) {
      check_interrupted();
      const std::string name = fmt::format("row{:04}", rows.size());
      std::optional<Json> known = run ? run->state(name) : std::nullopt;
      if (!known) {
        known = measure_policy(*decoder, request, *arm, budget);
        if (run) run->save_state(name, *known);
      }
      rows.push_back(std::move(*known));
      progress.advance(1);
    }
    if (run) {
      write_policy_report(run->staging(), rows, std::filesystem::path(request.model).filename().string());
      run->finish(rows);
    }
    return rows;
  };
  return run ? run->guard(work) : work();
}

}  // namespace espalier
