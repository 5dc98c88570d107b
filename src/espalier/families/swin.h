// Shifted windows: which tokens see each other, and how pairs of positions are numbered (Liu et al., 2021,
// section 3.2).
#pragma once

#include <cstdint>
#include <vector>

namespace espalier {

struct WindowGrid {
  int64_t height = 0, width = 0;  // positions, multiples of the window
  int64_t window = 0, shift = 0;
  int64_t windows() const { return (height / window) * (width / window); }
  int64_t tokens() const { return window * window; }
};

// Of each pair of a window's positions its row of the bias table, (2 w − 1)² rows: [tokens · tokens].
std::vector<int64_t> relative_positions(int64_t window);

// What is added to the scores [windows, 1, tokens, tokens]: −100 where the shift brought together what lies at opposite
// borders, else 0.
std::vector<double> shift_mask(const WindowGrid& grid);

// 0 … size − 1, starting at `first` and wrapping around.
std::vector<int64_t> rolled(int64_t size, int64_t first);

}  // namespace espalier
