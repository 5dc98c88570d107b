#include "espalier/families/swin.h"

namespace espalier {
namespace {

constexpr double kHidden = -100;

// A shifted picture falls into three bands a side; only what lies in the same ones belongs together.
int64_t band(int64_t at, int64_t size, const WindowGrid& grid) {
  return at < size - grid.window ? 0 : at < size - grid.shift ? 1 : 2;
}

}  // namespace

std::vector<int64_t> relative_positions(int64_t window) {
  std::vector<int64_t> rows;
  const int64_t tokens = window * window, span = 2 * window - 1;
  for (int64_t i = 0; i < tokens; ++i)
    for (int64_t j = 0; j < tokens; ++j)
      rows.push_back((i / window - j / window + window - 1) * span + i % window - j % window + window - 1);
  return rows;
}

std::vector<double> shift_mask(const WindowGrid& grid) {
  std::vector<double> mask;
  const int64_t columns = grid.width / grid.window;
  for (int64_t w = 0; w < grid.windows(); ++w) {
    std::vector<int64_t> bands;
    for (int64_t t = 0; t < grid.tokens(); ++t) {
      const int64_t row = w / columns * grid.window + t / grid.window;
      const int64_t column = w % columns * grid.window + t % grid.window;
      bands.push_back(3 * band(row, grid.height, grid) + band(column, grid.width, grid));
    }
    for (int64_t i : bands)
      for (int64_t j : bands) mask.push_back(i == j ? 0 : kHidden);
  }
  return mask;
}

std::vector<int64_t> rolled(int64_t size, int64_t first) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < size; ++i) indices.push_back((i + first) % size);
  return indices;
}

}  // namespace espalier
