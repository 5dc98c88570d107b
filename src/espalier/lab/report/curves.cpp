#include "espalier/lab/report/curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/lab/report/svg_plot.h"

namespace espalier {
namespace {

using Points = std::vector<std::pair<double, double>>;

Points points_of(const RunCurves& run, const std::string& metric) {
  Points points;
  for (const auto& one : run.metrics)
    if (one.name == metric && std::isfinite(one.value)) points.emplace_back(static_cast<double>(one.step), one.value);
  return points;
}

Axes axes_of(const std::vector<Points>& series) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double x_low = kInfinity, x_high = -kInfinity, y_low = kInfinity, y_high = -kInfinity;
  for (const auto& points : series) {
    for (const auto& [x, y] : points) {
      x_low = std::min(x_low, x);
      x_high = std::max(x_high, x);
      y_low = std::min(y_low, y);
      y_high = std::max(y_high, y);
    }
  }
  return axes_over(x_low, x_high, y_low, y_high);
}

std::vector<std::string> metrics_of(const std::vector<RunCurves>& runs) {
  std::vector<std::string> names = {"loss"};
  for (const auto& run : runs)
    for (const auto& metric : run.metrics)
      if (std::find(names.begin(), names.end(), metric.name) == names.end()) names.push_back(metric.name);
  return names;
}

std::string last_value(const RunCurves& run, const std::string& metric) {
  for (auto one = run.metrics.rbegin(); one != run.metrics.rend(); ++one)
    if (one->name == metric) return fmt::format("{:.5g}", one->value);
  return "–";
}

}  // namespace

std::string curve_svg(const std::vector<RunCurves>& runs, const std::string& metric) {
  std::vector<Points> series;
  size_t most = 0;
  for (const auto& run : runs) {
    series.push_back(points_of(run, metric));
    most = std::max(most, series.back().size());
  }
  if (most < 2) return "";
  const Axes axes = axes_of(series);
  std::string svg = svg_begin() + plot_frame({metric, "steps", metric}, axes);
  double legend = kTop + 10;
  for (size_t s = 0; s < series.size(); ++s, legend += 20) {
    std::string line;
    for (const auto& [x, y] : series[s]) line += fmt::format("{:.1f},{:.1f} ", axes.x.at(x), axes.y.at(y));
    svg += fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='1.5'/>\n", line, series_colour(s));
    svg += fmt::format("<circle cx='{}' cy='{}' r='4.5' fill='{}'/><text x='{}' y='{}'>{}</text>\n", kWidth - kRight + 20, legend - 4, series_colour(s),
                       kWidth - kRight + 32, legend, escaped(runs[s].name));
  }
  return svg + "</svg>\n";
}

std::string curves_page(const std::vector<RunCurves>& runs) {
  const auto names = metrics_of(runs);
  std::string html = page_begin(runs.size() == 1 ? runs.front().name : "trainings compared");
  for (const auto& name : names) html += curve_svg(runs, name);
  html += "<table><thead><tr><th>last</th>";
  for (const auto& name : names) html += "<th>" + escaped(name) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const auto& run : runs) {
    html += "<tr><td>" + escaped(run.name) + "</td>";
    for (const auto& name : names) html += "<td>" + last_value(run, name) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></body></html>\n";
}

}  // namespace espalier
