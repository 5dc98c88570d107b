// espalier eval MODEL --data DATA
#include <map>
#include <set>

#include "espalier/cli/engine_options.h"
#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/engine/language_eval.h"
#include "espalier/engine/needle_text.h"

namespace espalier {
namespace {

class EvalVerb : public Verb {
 public:
  EvalVerb()
      : Verb("eval", "quality of a model on data, alone or against another", "espalier eval {model} --limit 2000") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, request_.model)->required();
    add_text(app, "--data", request_.data, "DATA", "text, or pictures: CIFAR or IDX files, a folder by class; by default an embedded sample");
    add_choice(app, "--metric", request_.metric, {"ppl", "masked_ppl", "accuracy", "map", "needle", "vqa", "kl"},
               "by default what suits model and data");
    add_text(app, "--against", request_.against, "MODEL", "add the differences from this model");
    add_integer(app, "--length", request_.length, 0, kMostTokens, "tokens a window; 0: the model's context");
    add_integer(app, "--stride", request_.stride, 0, kMostTokens, "tokens between windows; 0: they do not overlap");
    add_integer(app, "--limit", request_.limit, 0, kMostTokens, "tokens or images at most, of needles texts a depth; 0: all, or 4");
    add_integer(app, "--needles", request_.needles, 1, NeedleMaker::kMostNeedles, "with --metric needle: numbers hidden in a text");
    add_integer(app, "--depths", request_.depths, 1, 1000, "with --metric needle: depths that are told apart");
    add_integer(app, "--batch", request_.batch, 0, 65536, "sequences or images at a time; 0: chosen");
    engine_.declare(app);
  }

  bool complete(CLI::App&) override {
    if (request_.metric == "kl" && request_.against.empty())
      user_error("--metric: kl is a distance and needs --against MODEL");
    if (request_.length > 0 && request_.stride > request_.length)
      user_error("--stride: expected at most --length {}, found {}", request_.length, request_.stride);
    if (request_.metric != "needle" && (request_.needles != 1 || request_.depths != 5)) user_error("--needles and --depths belong to --metric needle");
    request_.engine = engine_.request();
    return false;
  }

  Json run() override {
    resolve_model(request_.model);
    if (!request_.against.empty()) resolve_model(request_.against);
    if (!request_.data.empty()) resolve_data(request_.data);
    const bool through_engine = !request_.engine.policy.empty() || request_.metric == "needle";
    return through_engine ? evaluate_language(request_) : lab().eval(request_);
  }
  std::string text(const Json& result) override;

 private:
  EvalRequest request_;
  EngineOptions engine_;
};

std::string scope_of(const Json& result) {
  for (const char* unit : {"tokens", "images", "trials"})
    if (result.contains(unit)) return fmt::format(" over {} {}", shown(result[unit]), unit);
  return "";
}

// Depth by length, a cell the share of exact answers and of right tokens.
std::string needle_table(const Json& cells) {
  std::map<double, std::map<int64_t, std::string>> rows;
  std::set<int64_t> lengths;
  for (const Json& cell : cells) {
    const auto length = cell.at("length").get<int64_t>();
    lengths.insert(length);
    rows[cell.at("depth").get<double>()][length] = fmt::format("{:.0f} % ({:.0f} %)", 100 * cell.at("exact").get<double>(), 100 * cell.at("token_accuracy").get<double>());
  }
  std::vector<std::string> header = {"depth"};
  for (int64_t length : lengths) header.push_back(fmt::format("{} tokens", length));
  Table table(header);
  for (auto& [depth, row] : rows) {
    std::vector<std::string> line = {fmt::format("{:.0f} %", 100 * depth)};
    for (int64_t length : lengths) line.push_back(row.count(length) > 0 ? row[length] : "-");
    table.add(line);
  }
  return "exact answers (right tokens), by depth and length:\n" + table.str();
}

std::string EvalVerb::text(const Json& result) {
  if (!result.contains("metric") || !result.contains("value")) return describe_object(result);
  std::string line = fmt::format("{} {}", shown(result["metric"]), shown(result["value"]));
  if (const Json ci = result.value("ci95", Json()); ci.is_array() && ci.size() == 2)
    line += fmt::format(" (95 % interval {} to {})", shown(ci[0]), shown(ci[1]));
  line += scope_of(result);
  if (result.contains("mask_share")) line += fmt::format(", chosen as {:g} % of the text", 100 * result["mask_share"].get<double>());
  if (result.contains("top5")) line += ", top-5 " + shown(result["top5"]);
  if (result.contains("seconds")) line += ", " + format_duration(result["seconds"].get<double>());
  if (const Json macro = result.value("macro", Json()); macro.is_object())
    line += "\nmacro averages:\n" + describe_object(macro, 2);
  if (const Json against = result.value("against", Json()); against.is_object())
    line += (line.back() == '\n' ? "against:\n" : "\nagainst:\n") + describe_object(against, 2);
  if (line.back() != '\n') line += "\n";
  if (result.contains("all_found")) line += fmt::format("every needle found in {:.1f} % of the texts\n", 100 * result["all_found"].get<double>());
  if (result.contains("cells")) line += needle_table(result["cells"]);
  return line;
}

EvalVerb eval_verb;

}  // namespace
}  // namespace espalier
