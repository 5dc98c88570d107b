// The law tool of 44 The Journey Matters (2025): Chinchilla's law through runs of any density, with predictions.
#include "espalier/lab/measure/scaling_law.h"

#include <charconv>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/lab/methods/study.h"

namespace espalier::scaling_law_method {
namespace {

constexpr const char* kId = "scaling-law";
constexpr uint64_t kMostTable = 1 << 26;

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(by, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

double number_of(const std::string& where, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) throw UserError(where, "entry", "a number", "'" + printable(text) + "'");
  return value;
}

// A header "params,tokens,loss" and a line a run.
std::vector<ScalingPoint> read_points(const std::string& file) {
  std::vector<ScalingPoint> points;
  const auto lines = split(read_file(file, kMostTable), '\n');
  if (lines.empty() || lines[0].substr(0, lines[0].find('\r')) != "params,tokens,loss")
    throw UserError(file, "line 1", "params,tokens,loss", "'" + printable(lines.empty() ? "" : lines[0]) + "'");
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::string line = lines[i].substr(0, lines[i].find('\r'));
    if (line.empty()) continue;
    const std::string where = fmt::format("{}: line {}", file, i + 1);
    const auto cells = split(line, ',');
    if (cells.size() != 3) throw UserError(where, "cells", "3", fmt::format("{}", cells.size()));
    points.push_back({number_of(where, cells[0]), number_of(where, cells[1]), number_of(where, cells[2])});
  }
  return points;
}

Json run(StudyJob& job) {
  if (job.data().empty()) user_error("study {}: --data: missing: a table with the columns params, tokens, loss", kId);
  const auto points = read_points(job.data());
  const ScalingFit fit = fit_scaling_law(points, job.real("delta", 1e-12, 1e3));
  const ScalingLaw& law = fit.law;
  Json runs = Json::array(), predictions = Json::array();
  for (const auto& point : points) {
    const double predicted = law.loss(point.params, point.tokens);
    runs.push_back({point.params, point.tokens, point.loss, predicted, predicted / point.loss - 1});
  }
  if (job.has("predict"))
    for (const auto& pair : split(job.text("predict"), ';')) {
      const auto parts = split(pair, ':');
      if (parts.size() != 2) throw UserError("study " + std::string(kId), "option predict", "PARAMS:TOKENS;PARAMS:TOKENS", "'" + printable(pair) + "'");
      const double params = number_of("option predict", parts[0]), tokens = number_of("option predict", parts[1]);
      predictions.push_back({params, tokens, law.loss(params, tokens)});
    }
  Json tables = {{"law", {{"columns", {"E", "A", "alpha", "B", "beta", "objective"}},
                          {"rows", {{std::exp(law.log_e), std::exp(law.log_a), law.alpha, std::exp(law.log_b), law.beta, fit.objective}}}}},
                 {"runs", {{"columns", {"params", "tokens", "loss", "law", "error"}}, {"rows", runs}}}};
  if (!predictions.empty()) tables["predictions"] = {{"columns", {"params", "tokens", "loss"}}, {"rows", predictions}};
  return {{"tables", tables},
          {"summary", fmt::format("L = {:.4g} + {:.4g} / N^{:.4f} + {:.4g} / D^{:.4f}; {} runs, mean error {:.3f} %, largest {:.3f} %", std::exp(law.log_e), std::exp(law.log_a),
                                  law.alpha, std::exp(law.log_b), law.beta, points.size(), 100 * fit.mean_error, 100 * fit.largest_error)}};
}

const RegisterStudy registered({.id = kId,
                                .summary = "Chinchilla's law through a table of runs, sparse ones by their average parameter count (needs no model; any will do)",
                                .options = {{"delta", "real", "1e-3", "> 0", "where Huber's function turns linear"},
                                            {"predict", "text", "", "PARAMS:TOKENS;…", "losses to foretell"}},
                                .run = run});

}  // namespace
}  // namespace espalier::scaling_law_method
