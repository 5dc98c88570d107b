#include "espalier/lab/report/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "espalier/core/error.h"
#include "espalier/lab/report/svg_plot.h"

namespace espalier {
namespace {

constexpr double kCellWidth = 64, kCellHeight = 36, kGridLeft = 100, kGridTop = 48, kLeastWidth = 420;

}  // namespace

std::string heat_map_svg(const HeatMap& map) {
  if (map.cells.empty()) user_error("plot '{}': there is no cell to draw", map.title);
  const double right = kGridLeft + kCellWidth * static_cast<double>(map.columns.size()), bottom = kGridTop + kCellHeight * static_cast<double>(map.rows.size());
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}' font-family='sans-serif' font-size='12'>\n"
      "<rect width='{0}' height='{1}' fill='white'/>\n<text x='16' y='24' font-size='15' font-weight='bold'>{2}</text>\n",
      std::max(right + 24, kLeastWidth), bottom + 56, escaped(map.title));
  for (const auto& [row, column, value] : map.cells) {
    const double x = kGridLeft + kCellWidth * static_cast<double>(column), y = kGridTop + kCellHeight * static_cast<double>(row);
    svg += fmt::format("<rect x='{}' y='{}' width='{}' height='{}' fill='hsl({:.0f},70%,62%)' stroke='white'/><text x='{}' y='{}' text-anchor='middle'>{:.0f}</text>\n",
                       x, y, kCellWidth, kCellHeight, 120 * std::clamp(value, 0.0, 1.0), x + kCellWidth / 2, y + kCellHeight / 2 + 4, 100 * value);
  }
  for (size_t r = 0; r < map.rows.size(); ++r)
    svg += fmt::format("<text x='{}' y='{}' text-anchor='end'>{}</text>\n", kGridLeft - 8, kGridTop + kCellHeight * (static_cast<double>(r) + 0.5) + 4, escaped(map.rows[r]));
  for (size_t c = 0; c < map.columns.size(); ++c)
    svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>{}</text>\n", kGridLeft + kCellWidth * (static_cast<double>(c) + 0.5), bottom + 18, escaped(map.columns[c]));
  svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>{}</text>\n", (kGridLeft + right) / 2, bottom + 42, escaped(map.x_label));
  svg += fmt::format("<text transform='translate(20 {}) rotate(-90)' text-anchor='middle'>{}</text>\n", (kGridTop + bottom) / 2, escaped(map.y_label));
  return svg + "</svg>\n";
}

HeatMap needle_heat_map(const Json& cells, const std::string& title) {
  std::set<int64_t> lengths;
  std::set<double> depths;
  for (const Json& cell : cells) lengths.insert(cell.at("length").get<int64_t>()), depths.insert(cell.at("depth").get<double>());
  HeatMap map{title, "tokens of the text", "depth of the needle", {}, {}, {}};
  for (double depth : depths) map.rows.push_back(fmt::format("{:.0f} %", 100 * depth));
  for (int64_t length : lengths) map.columns.push_back(fmt::format("{}", length));
  const auto place = [](const auto& values, auto value) { return static_cast<size_t>(std::distance(values.begin(), values.find(value))); };
  for (const Json& cell : cells)
    map.cells.push_back({place(depths, cell.at("depth").get<double>()), place(lengths, cell.at("length").get<int64_t>()), cell.at("exact").get<double>()});
  return map;
}

}  // namespace espalier
