#include "espalier/lab/report/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace espalier {
namespace {

// Okabe and Ito's colours, which people with colour blindness can tell apart.
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933"};

// 1, 2 or 5 times a power of ten, so that about `count` of them fit.
double tick_step(double range, int count) {
  const double raw = range / count, power = std::pow(10, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power) return factor * power;
  return 10 * power;
}

Axis axis_over(double low, double high, double from, double to) {
  if (!(high > low)) {
    const double margin = std::max(std::abs(low) * 0.05, 1e-3);
    low -= margin;
    high += margin;
  }
  const double step = tick_step(high - low, 6);
  return {std::floor(low / step) * step, std::ceil(high / step) * step, from, to};
}

}  // namespace

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

Axes axes_over(double x_low, double x_high, double y_low, double y_high) {
  return {axis_over(x_low, x_high, kLeft, kWidth - kRight), axis_over(y_low, y_high, kHeight - kBottom, kTop)};
}

std::string svg_begin() {
  return fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}' font-family='sans-serif' font-size='12'>\n"
      "<rect width='{0}' height='{1}' fill='white'/>\n",
      kWidth, kHeight);
}

std::string plot_frame(const PlotTexts& texts, const Axes& axes) {
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
  svg += fmt::format("<text x='{}' y='24' font-size='15' font-weight='bold'>{}</text>\n", kLeft, escaped(texts.title));
  svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>{}</text>\n", (kLeft + right) / 2, kHeight - 14, escaped(texts.x_label));
  svg += fmt::format("<text transform='translate(20 {}) rotate(-90)' text-anchor='middle'>{}</text>\n", (kTop + bottom) / 2, escaped(texts.y_label));
  return svg;
}

const char* series_colour(size_t series) { return kColours[series % std::size(kColours)]; }

std::string page_begin(const std::string& title) {
  return fmt::format(
      "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{0}</title><style>body{{font-family:sans-serif;margin:2em}}"
      "table{{border-collapse:collapse}}th,td{{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}}"
      "th:first-child,td:first-child{{text-align:left}}</style></head><body>\n<h1>{0}</h1>\n",
      escaped(title));
}

}  // namespace espalier
