#include "espalier/lab/report/pareto.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/lab/report/svg_plot.h"

namespace espalier {
namespace {

Axes pareto_axes(const ParetoPlot& plot) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double x_low = kInfinity, x_high = -kInfinity, y_low = kInfinity, y_high = -kInfinity;
  for (const auto& series : plot.series) {
    for (const auto& point : series.points) {
      x_low = std::min(x_low, point.x);
      x_high = std::max(x_high, point.x);
      y_low = std::min({y_low, point.y, point.low});
      y_high = std::max({y_high, point.y, point.high});
    }
  }
  return axes_over(x_low, x_high, y_low, y_high);
}

std::string front_line(const ParetoPlot& plot, const Axes& axes) {
  std::string path;
  double last_y = 0;
  for (const auto& [s, p] : pareto_front(plot)) {
    const PlotPoint& point = plot.series[s].points[p];
    const double x = axes.x.at(point.x), y = axes.y.at(point.y);
    path += path.empty() ? fmt::format("M{:.1f} {:.1f}", x, y) : fmt::format(" L{:.1f} {:.1f} L{:.1f} {:.1f}", x, last_y, x, y);
    last_y = y;
  }
  return fmt::format("<path d='{}' fill='none' stroke='#bbb' stroke-width='6' stroke-linejoin='round' opacity='0.6'/>\n", path);
}

std::string series_marks(const PlotSeries& series, const char* colour, const Axes& axes) {
  auto points = series.points;
  std::sort(points.begin(), points.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
  std::string line, marks;
  for (const auto& point : points) {
    const double x = axes.x.at(point.x), y = axes.y.at(point.y);
    line += fmt::format("{:.1f},{:.1f} ", x, y);
    marks += fmt::format("<line x1='{0:.1f}' y1='{1:.1f}' x2='{0:.1f}' y2='{2:.1f}' stroke='{3}'/>", x, axes.y.at(point.low), axes.y.at(point.high), colour);
    marks += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='4.5' fill='{}'><title>{}</title></circle>\n", x, y, colour, escaped(point.label));
  }
  return fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='1.5'/>\n", line, colour) + marks;
}

std::string legend(const ParetoPlot& plot) {
  std::string svg;
  double y = kTop + 10;
  for (size_t s = 0; s < plot.series.size(); ++s, y += 20)
    svg += fmt::format("<circle cx='{}' cy='{}' r='4.5' fill='{}'/><text x='{}' y='{}'>{}</text>\n", kWidth - kRight + 20, y - 4,
                       series_colour(s), kWidth - kRight + 32, y, escaped(plot.series[s].name));
  svg += fmt::format("<line x1='{}' y1='{}' x2='{}' y2='{}' stroke='#bbb' stroke-width='6' opacity='0.6'/><text x='{}' y='{}'>Pareto front</text>\n",
                     kWidth - kRight + 12, y - 4, kWidth - kRight + 28, y - 4, kWidth - kRight + 32, y);
  return svg;
}

std::string cell(const Json& value) {
  if (value.is_null()) return "–";
  if (value.is_number_float()) return fmt::format("{:.5g}", value.get<double>());
  return value.is_string() ? escaped(value.get<std::string>()) : escaped(value.dump());
}

}  // namespace

std::vector<std::pair<size_t, size_t>> pareto_front(const ParetoPlot& plot) {
  std::vector<std::pair<size_t, size_t>> all, front;
  for (size_t s = 0; s < plot.series.size(); ++s)
    for (size_t p = 0; p < plot.series[s].points.size(); ++p) all.emplace_back(s, p);
  const auto point = [&](const auto& index) -> const PlotPoint& { return plot.series[index.first].points[index.second]; };
  const double sign = plot.higher_is_better ? 1 : -1;
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    return std::pair(point(a).x, -sign * point(a).y) < std::pair(point(b).x, -sign * point(b).y);
  });
  double best = -std::numeric_limits<double>::infinity();
  for (const auto& index : all) {
    if (!(sign * point(index).y > best)) continue;
    best = sign * point(index).y;
    front.push_back(index);
  }
  return front;
}

std::string pareto_svg(const ParetoPlot& plot) {
  if (std::all_of(plot.series.begin(), plot.series.end(), [](const auto& series) { return series.points.empty(); }))
    user_error("plot '{}': there is no point to draw", plot.title);
  const Axes axes = pareto_axes(plot);
  std::string svg = svg_begin() + plot_frame({plot.title, plot.x_label, plot.y_label}, axes) + front_line(plot, axes);
  for (size_t s = 0; s < plot.series.size(); ++s) svg += series_marks(plot.series[s], series_colour(s), axes);
  return svg + legend(plot) + "</svg>\n";
}

std::string report_page(const std::string& title, const std::string& svg, const Json& rows, const std::vector<std::string>& columns) {
  std::string html = page_begin(title) + svg + "<table><thead><tr>";
  for (const auto& column : columns) html += "<th>" + escaped(column) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const Json& row : rows) {
    html += "<tr>";
    for (const auto& column : columns) html += "<td>" + cell(row.value(column, Json())) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></body></html>\n";
}

}  // namespace espalier
