// A quality-against-cost plot as a self-contained SVG, and a page with it and its table.
#pragma once

#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

struct PlotPoint {
  double x = 0, y = 0, low = 0, high = 0;  // low, high: the interval of y
  std::string label;                       // what the pointer shows
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;
};

struct ParetoPlot {
  std::string title, x_label, y_label;
  bool higher_is_better = true;  // y; a smaller x is always better
  std::vector<PlotSeries> series;
};

// Indices (series, point) that no other point beats in both x and y, ascending in x.
std::vector<std::pair<size_t, size_t>> pareto_front(const ParetoPlot& plot);

// Points with their intervals, joined within a series; the front as a grey staircase. UserError without any point.
std::string pareto_svg(const ParetoPlot& plot);

// columns: keys of the rows that become the table.
std::string report_page(const std::string& title, const std::string& svg, const Json& rows, const std::vector<std::string>& columns);

}  // namespace espalier
