// A table of shares as coloured cells, as a self-contained SVG.
#pragma once

#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

struct HeatMap {
  struct Cell {
    size_t row, column;
    double value;  // 0 … 1
  };
  std::string title, x_label, y_label;
  std::vector<std::string> rows, columns;  // labels, from the top and from the left
  std::vector<Cell> cells;                 // each at most once; others stay empty
};

// Cells from red (0) over yellow to green (1), each with its value as a percentage. UserError without any cell.
std::string heat_map_svg(const HeatMap& map);

// Of `eval --metric needle`: depth against length, coloured by the share of exact answers.
HeatMap needle_heat_map(const Json& cells, const std::string& title);

}  // namespace espalier
