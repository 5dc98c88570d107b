#include "espalier/lab/compare.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/progress.h"
#include "espalier/core/run_dir.h"
#include "espalier/core/signals.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/io/text_dataset.h"
#include "espalier/lab/evaluate.h"
#include "espalier/lab/measure/nonzero.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/measure/latency.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/methods/prune_request.h"
#include "espalier/lab/methods/runner.h"
#include "espalier/lab/repair/repair.h"
#include "espalier/lab/report/pareto.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

const std::vector<std::string> kColumns = {"method", "sparsity",       "reached", "of",      "metric",  "value",
                                           "kl",     "top1_agreement", "params",  "nonzero", "flops",   "forward_ratio",
                                           "seconds"};

// Quality on the evaluation data, whatever the model reads.
class Judge {
 public:
  Judge(const CompareRequest& request, const Model& dense) : dense_(dense), limit_(request.limit) {
    if (dense.task == Task::kOther) user_error("{}: neither a language model nor a classifier of pictures: nothing to compare by", dense.path.string());
    if (request.data.empty() && dense.task == Task::kImages && !is_embedded(dense.path))
      user_error("--data: missing: on which pictures shall {} be measured?", dense.path.string());
    const char* otherwise = dense.task == Task::kText ? "evaluation.txt" : kEmbeddedTestPictures;
    data_ = resolve_data(request.data.empty() ? otherwise : request.data);
    if (dense.task == Task::kImages) {
      images_ = ImageDataset::open(data_);
      return;
    }
    const int64_t length = default_length(dense.context_length);
    windows_ = windows_of(tokens_of(data_, dense, request.limit), length, length);
  }

  bool higher_is_better() const { return images_ != nullptr; }
  const std::filesystem::path& data() const { return data_; }

  void judge(Json& row, const Graph& graph, bool with_distance) const {
    const Graph* against = with_distance ? &dense_.graph : nullptr;
    if (images_) {
      const Accuracy accuracy = measure_accuracy(graph, *images_, dense_.image, limit_, 0, against);
      add(row, "accuracy", accuracy.top1, accuracy.kl, accuracy.agreement);
    } else {
      const int64_t length = default_length(dense_.context_length);
      const Quality quality = measure_quality(graph, windows_, length, length, against);
      add(row, "ppl", quality.perplexity, quality.kl, quality.agreement);
    }
  }

 private:
  static void add(Json& row, const char* metric, const Estimate& estimate, std::optional<double> kl, std::optional<double> agreement) {
    row["metric"] = metric;
    row["value"] = estimate.value;
    row["ci95"] = {estimate.low, estimate.high};
    if (kl) row["kl"] = *kl;
    if (agreement) row["top1_agreement"] = *agreement;
  }

  const Model& dense_;
  int64_t limit_;
  std::filesystem::path data_;
  std::shared_ptr<const ImageDataset> images_;
  TokenSequences windows_;
};

void add_costs(Json& row, const Graph& graph, const Model& dense) {
  const Size size = model_size(graph, dense);
  row["params"] = size.params;
  row["nonzero"] = nonzero_count(graph);
  row["flops"] = size.flops;
  row["bytes"] = size.bytes;
}

std::string label_of(const StepRequest& arm) {
  std::string label = find_method(arm.method).id;
  for (const auto& [name, value] : arm.options)
    if (!name.starts_with("repair.")) label += fmt::format(":{}={}", name, value);
  return arm.repair == "none" ? label : label + "+" + arm.repair;
}

PruneRequest prune_request(const CompareRequest& request, const StepRequest& arm, double sparsity) {
  PruneRequest prune;
  prune.common = request.common;
  prune.model = request.model;
  prune.calib = request.calib;
  prune.align = request.align;
  prune.steps = {arm};
  prune.steps[0].sparsity = sparsity;
  return prune;
}

// One method at one sparsity, on a fresh copy of the model.
Json run_arm(const CompareRequest& request, const StepRequest& arm, double sparsity, const Model& dense, const Judge& judge) {
  const auto start = Clock::now();
  Json row = {{"method", label_of(arm)}, {"sparsity", sparsity}};
  try {
    Model model = open_model(request.model, request.common);
    const PruneRequest asked = prune_request(request, arm, sparsity);
    const CalibrationSource source = calibration_of(asked, model);
    const PruneRequest prune = completed(asked, model, source);
    const Method& method = find_method(arm.method);
    PruneJob job(method, model, source, settings_of(prune, prune.steps[0], method), nullptr, 0);
    method.prune(job);
    check_reached(job);
    row["of"] = job.settings().of;
    row["reached"] = job.reached();
    judge.judge(row, model.graph, true);
    if (arm.repair != "none") {
      row["value_before_repair"] = row["value"];
      repair_model(job, arm.repair, repair_options(prune.steps[0]));
      judge.judge(row, model.graph, false);
    }
    row["seconds"] = std::chrono::duration<double>(Clock::now() - start).count();
    add_costs(row, model.graph, dense);
    row["forward_ratio"] = ForwardTimer(dense).ratio_of(model.graph, {.most_rounds = 15}).value;
    row["decode_tok_s"] = nullptr;
  } catch (const UserError& error) {
    row["error"] = error.what();
    warn("{}", error.what());
  }
  return row;
}

Json dense_row(const Model& dense, const Judge& judge) {
  const auto start = Clock::now();
  Json row = {{"method", "dense"}, {"sparsity", 0.0}, {"of", nullptr}, {"reached", 0.0}};
  judge.judge(row, dense.graph, false);
  row["kl"] = 0.0;
  row["top1_agreement"] = 1.0;
  row["seconds"] = std::chrono::duration<double>(Clock::now() - start).count();
  add_costs(row, dense.graph, dense);
  row["forward_ratio"] = 1.0;
  row["decode_tok_s"] = nullptr;
  return row;
}

// x: what is left of the cost that the methods change most: FLOPs when graphs were cut, else weights that are not zero.
ParetoPlot plot_of(const Json& rows, bool higher_is_better, const std::string& title) {
  const Json& dense = rows.at(0);
  const bool cut = std::any_of(rows.begin(), rows.end(), [&](const Json& row) { return !row.contains("error") && row.at("flops") != dense.at("flops"); });
  const bool weights = std::any_of(rows.begin(), rows.end(), [&](const Json& row) { return !row.contains("error") && row.at("flops") == dense.at("flops") && row.at("nonzero") != dense.at("nonzero"); });
  const char* key = cut && !weights ? "flops" : "nonzero";
  ParetoPlot plot{title, key == std::string("flops") ? "FLOPs, share of the dense model" : "weights that are not zero, share of the dense model",
                  dense.at("metric") == "ppl" ? "perplexity" : dense.at("metric").get<std::string>(), higher_is_better, {}};
  for (const Json& row : rows) {
    if (row.contains("error")) continue;
    const std::string method = row.at("method").get<std::string>();
    auto series = std::find_if(plot.series.begin(), plot.series.end(), [&](const auto& s) { return s.name == method; });
    if (series == plot.series.end()) series = plot.series.insert(series, {method, {}});
    const double value = row.at("value").get<double>();
    series->points.push_back({row.at(key).get<double>() / dense.at(key).get<double>(), value, row.at("ci95")[0].get<double>(), row.at("ci95")[1].get<double>(),
                              fmt::format("{} {}: {:.5g}", method, row.at("sparsity").get<double>(), value)});
  }
  return plot;
}

// A perplexity that exploded would flatten all others.
void cut_off_explosions(ParetoPlot& plot, double dense_value) {
  if (plot.higher_is_better) return;
  for (auto& series : plot.series)
    std::erase_if(series.points, [&](const auto& point) { return !(point.y < 20 * dense_value); });
  std::erase_if(plot.series, [](const auto& series) { return series.points.empty(); });
}

void write_report(const std::filesystem::path& directory, const Json& rows, bool higher_is_better, const std::string& model) {
  ParetoPlot plot = plot_of(rows, higher_is_better, model);
  cut_off_explosions(plot, rows.at(0).at("value").get<double>());
  const std::string svg = pareto_svg(plot);
  write_file_atomically(directory / "rows.json", rows.dump(1) + "\n");
  write_file_atomically(directory / "pareto.svg", svg);
  write_file_atomically(directory / "report.html", report_page(fmt::format("{}: methods compared", model), svg, rows, kColumns));
}

std::string row_name(size_t index) { return fmt::format("row{:04}", index); }

}  // namespace

Json run_compare(const CompareRequest& request) {
  const Model dense = open_model(request.model, request.common);
  const Judge judge(request, dense);
  for (const auto& arm : request.arms) {  // what is wrong is said before any work
    Model model = open_model(request.model, request.common);
    const PruneRequest asked = prune_request(request, arm, request.sparsities.front());
    completed(asked, model, calibration_of(asked, model));
  }
  std::optional<RunDirectory> run;
  if (!request.out.empty()) {
    Json arms = Json::array();
    for (const auto& arm : request.arms) arms.push_back({label_of(arm), arm.of, arm.pattern, repair_options(arm)});
    const Json fingerprint = {{"espalier", ESPALIER_VERSION}, {"compare", dense.path.string()}, {"model", model_hash(dense.graph)}, {"data", judge.data().string()},
                              {"arms", arms}, {"sparsities", request.sparsities}, {"limit", request.limit}, {"align", request.align},
                              {"calib", {request.calib.data, request.calib.samples, request.calib.length}}, {"seed", request.common.seed}, {"threads", request.common.threads}};
    run.emplace(request.out, fingerprint, RunOptions{request.force, request.resume, dense.path});
    if (run->finished_result()) return *run->finished_result();
  }
  const auto work = [&] {
    Json rows = Json::array();
    Progress progress("compare", static_cast<int64_t>(1 + request.arms.size() * request.sparsities.size()), "run");
    const auto row = [&](const std::function<Json()>& make) {
      check_interrupted();
      const std::string name = row_name(rows.size());
      std::optional<Json> known = run ? run->state(name) : std::nullopt;
      if (!known) {
        known = make();
        if (run) run->save_state(name, *known);
      }
      rows.push_back(std::move(*known));
      progress.advance(1);
    };
    row([&] { return dense_row(dense, judge); });
    for (const auto& arm : request.arms)
      for (double sparsity : request.sparsities) row([&] { return run_arm(request, arm, sparsity, dense, judge); });
    if (run) {
      write_report(run->staging(), rows, judge.higher_is_better(), std::filesystem::path(request.model).filename().string());
      run->finish(rows);
    }
    return rows;
  };
  return run ? run->guard(work) : work();
}

}  // namespace espalier
