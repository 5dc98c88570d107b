#include "espalier/lab/report/pareto.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr double kWidth = 820, kHeight = 480, kLeft = 80, kRight = 210, kTop = 44, kBottom = 56;
// Okabe and Ito's colours, which people with colour blindness can tell apart.
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933"};

std::string escaped(const std::string& text) {
  std::string result;
  for (char c : text) {
    switch (c) {
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '&': result += "&amp;"; break;
      case '"': result += "&quot;"; break;
      default: result += c;
    }
  }
  return result;
}

// From values to pixels along one direction.
struct Axis {
  double low, high, from, to;
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

// 1, 2 or 5 times a power of ten, so that about `count` of them fit.
double tick_step(double range, int count) {
  const double raw = range / count, power = std::pow(10, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power) return factor * power;
  return 10 * power;
}

// Rounded outwards to ticks; a single value gets room around it.
Axis axis_over(double low, double high, double from, double to) {
  if (!(high > low)) {
    const double margin = std::max(std::abs(low) * 0.05, 1e-3);
    low -= margin;
    high += margin;
  }
  const double step = tick_step(high - low, 6);
  return {std::floor(low / step) * step, std::ceil(high / step) * step, from, to};
}

struct Axes {
  Axis x, y;
};

Axes axes_of(const ParetoPlot& plot) {
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
  return {axis_over(x_low, x_high, kLeft, kWidth - kRight), axis_over(y_low, y_high, kHeight - kBottom, kTop)};
}

std::string frame(const ParetoPlot& plot, const Axes& axes) {
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  std::string svg;
  const double x_step = tick_step(axes.x.high - axes.x.low, 6), y_step = tick_step(axes.y.high - axes.y.low, 6);
  for (double value = axes.x.low; value <= axes.x.high + x_step / 2; value += x_step) {
    const double x = axes.x.at(value);
    svg += fmt::format("<line x1='{0:.1f}' y1='{1}' x2='{0:.1f}' y2='{2}' stroke='#e4e4e4'/><text x='{0:.1f}' y='{3}' text-anchor='middle'>{4:.4g}</text>\n",
                       x, kTop, bottom, bottom + 18, std::abs(value) < x_step / 1e6 ? 0 : value);
  }
  for (double value = axes.y.low; value <= axes.y.high + y_step / 2; value += y_step) {
    const double y = axes.y.at(value);
    svg += fmt::format("<line x1='{1}' y1='{0:.1f}' x2='{2}' y2='{0:.1f}' stroke='#e4e4e4'/><text x='{3}' y='{4:.1f}' text-anchor='end'>{5:.4g}</text>\n",
                       y, kLeft, right, kLeft - 8, y + 4, std::abs(value) < y_step / 1e6 ? 0 : value);
  }
  svg += fmt::format("<rect x='{}' y='{}' width='{}' height='{}' fill='none' stroke='#888'/>\n", kLeft, kTop, right - kLeft, bottom - kTop);
  svg += fmt::format("<text x='{}' y='24' font-size='15' font-weight='bold'>{}</text>\n", kLeft, escaped(plot.title));
  svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>{}</text>\n", (kLeft + right) / 2, kHeight - 14, escaped(plot.x_label));
  svg += fmt::format("<text transform='translate(20 {}) rotate(-90)' text-anchor='middle'>{}</text>\n", (kTop + bottom) / 2, escaped(plot.y_label));
  return svg;
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
                       kColours[s % std::size(kColours)], kWidth - kRight + 32, y, escaped(plot.series[s].name));
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
  const Axes axes = axes_of(plot);
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}' font-family='sans-serif' font-size='12'>\n"
      "<rect width='{0}' height='{1}' fill='white'/>\n",
      kWidth, kHeight);
  svg += frame(plot, axes) + front_line(plot, axes);
  for (size_t s = 0; s < plot.series.size(); ++s) svg += series_marks(plot.series[s], kColours[s % std::size(kColours)], axes);
  return svg + legend(plot) + "</svg>\n";
}

std::string report_page(const std::string& title, const std::string& svg, const Json& rows, const std::vector<std::string>& columns) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{0}</title><style>body{{font-family:sans-serif;margin:2em}}"
      "table{{border-collapse:collapse}}th,td{{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}}"
      "th:first-child,td:first-child{{text-align:left}}</style></head><body>\n<h1>{0}</h1>\n{1}<table><thead><tr>",
      escaped(title), svg);
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
