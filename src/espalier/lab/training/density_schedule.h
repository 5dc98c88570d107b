// How much is kept, or swapped, when: densities and rates as functions of the training step.
#pragma once

#include <cstdint>
#include <string>

namespace espalier {

enum class DensityShape { kGeometric, kLinear, kCubic };

DensityShape density_shape(const std::string& where, const std::string& name);  // UserError naming `where`

// From one density to another over x in [0, 1], beyond which the ends hold.
//   geometric: each stretch removes the same share of what is left, from · (to / from)^x; to > 0
//   linear:    from + (to - from) x
//   cubic:     to + (from - to) (1 - x)^3, Zhu and Gupta's "To prune, or not to prune" (2017)
struct DensityCurve {
  DensityShape shape = DensityShape::kCubic;
  double from = 1, to = 1;

  double at(double x) const;
  double mean() const;  // over [0, 1]
};

// The curve in steps of training, start <= end: the density changes at start, start + every, … and at end, where it is
// exactly `to`, and stays between.
struct DensitySchedule {
  DensityCurve curve;
  int64_t start = 0, end = 0, every = 1;

  bool updates(int64_t step) const;
  double at(int64_t step) const;     // from before `start`
  double exact(double step) const;   // the curve itself, without the stairs
};

// UserError naming `where`: start < 0, end < start, every < 1, a density outside (0, 1], or `to` above `from`.
void check_schedule(const DensitySchedule& schedule, const std::string& where);

// low + (high - low) / 2 · (1 + cos(pi t / total)): from high at 0 to low at total and after.
double cosine_rate(double t, double total, double high, double low);

}  // namespace espalier
