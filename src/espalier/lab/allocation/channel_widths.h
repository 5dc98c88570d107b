// From layer densities to widths (PreCropping, 2022): a layer's weights scale with its inputs times its outputs, so a
// density d asks for the factor sqrt(d) on the output side; layers of equal width share one factor.
#pragma once

#include <cstdint>
#include <vector>

namespace espalier {

// Geometric mean of sqrt(d) over the layers that produce one set of channels; 1 without producers. UserError: a density
// that is negative, NaN or above 1.
double width_factor(const std::vector<double>& densities);

// min(width, max(1, floor(width * factor + 0.5))), then to the nearest multiple (at least one of them, at most width).
int64_t scaled_width(int64_t width, double factor, int64_t multiple = 1);

}  // namespace espalier
