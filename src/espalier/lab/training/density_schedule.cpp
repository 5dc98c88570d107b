#include "espalier/lab/training/density_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "espalier/core/choice.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, DensityShape> kShapes[] = {
    {"geometric", DensityShape::kGeometric}, {"linear", DensityShape::kLinear}, {"cubic", DensityShape::kCubic}};

}  // namespace

DensityShape density_shape(const std::string& where, const std::string& name) { return choice_from_name(where, name, kShapes); }

double DensityCurve::at(double x) const {
  if (x <= 0) return from;
  if (x >= 1) return to;
  const double left = 1 - x;
  switch (shape) {
    case DensityShape::kGeometric: return from * std::pow(to / from, x);
    case DensityShape::kLinear: return from + (to - from) * x;
    case DensityShape::kCubic: return to + (from - to) * left * left * left;
  }
  bug(__FILE__, __LINE__, "an unknown shape");
}

double DensityCurve::mean() const {
  if (from == to) return from;
  switch (shape) {
    case DensityShape::kGeometric: return (from - to) / std::log(from / to);
    case DensityShape::kLinear: return (from + to) / 2;
    case DensityShape::kCubic: return to + (from - to) / 4;
  }
  bug(__FILE__, __LINE__, "an unknown shape");
}

bool DensitySchedule::updates(int64_t step) const {
  return step == end || (step >= start && step < end && (step - start) % every == 0);
}

double DensitySchedule::at(int64_t step) const {
  if (step >= end || step < start) return step >= end ? curve.to : curve.from;
  return exact(static_cast<double>(step - (step - start) % every));
}

double DensitySchedule::exact(double step) const {
  if (step >= static_cast<double>(end)) return curve.to;
  return curve.at((step - static_cast<double>(start)) / static_cast<double>(end - start));
}

void check_schedule(const DensitySchedule& schedule, const std::string& where) {
  const auto& [curve, start, end, every] = schedule;
  if (start < 0) throw UserError(where, "start", "at least 0", fmt::format("{}", start));
  if (end < start) throw UserError(where, "end", fmt::format("at least the start, {}", start), fmt::format("{}", end));
  if (every < 1) throw UserError(where, "steps between updates", "at least 1", fmt::format("{}", every));
  for (const double density : {curve.from, curve.to})
    if (!(density > 0 && density <= 1)) throw UserError(where, "density", "above 0, at most 1", fmt::format("{}", density));
  if (curve.to > curve.from)
    throw UserError(where, "final density", fmt::format("at most the initial one, {}", curve.from), fmt::format("{}", curve.to));
}

double cosine_rate(double t, double total, double high, double low) {
  const double x = std::clamp(t / total, 0.0, 1.0);
  return low + (high - low) / 2 * (1 + std::cos(std::numbers::pi * x));
}

}  // namespace espalier
