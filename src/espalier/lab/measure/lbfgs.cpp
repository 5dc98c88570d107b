#include "espalier/lab/measure/lbfgs.h"

#include <cmath>
#include <deque>
#include <limits>
#include <numeric>

namespace espalier {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

Vector moved(const Vector& x, double t, const Vector& direction) {
  Vector result(x);
  for (size_t i = 0; i < x.size(); ++i) result[i] += t * direction[i];
  return result;
}

struct Pair {
  Vector step, change;  // of x and of the gradient
  double curvature;     // their product, > 0
};

// Minus the approximate inverse Hessian times the gradient.
Vector descent(const std::deque<Pair>& pairs, const Vector& gradient) {
  Vector q = gradient;
  std::vector<double> weights(pairs.size());
  for (size_t i = pairs.size(); i-- > 0;) {
    weights[i] = dot(pairs[i].step, q) / pairs[i].curvature;
    q = moved(q, -weights[i], pairs[i].change);
  }
  const double scale = pairs.empty() ? 1 / std::max(1.0, std::sqrt(dot(q, q)))
                                     : pairs.back().curvature / dot(pairs.back().change, pairs.back().change);
  for (double& value : q) value *= scale;
  for (size_t i = 0; i < pairs.size(); ++i)
    q = moved(q, weights[i] - dot(pairs[i].change, q) / pairs[i].curvature, pairs[i].step);
  for (double& value : q) value = -value;
  return q;
}

struct Point {
  Vector x, gradient;
  double value;
};

// Along a direction of slope < 0. The start itself when no step lowers the value.
Point line_search(const Differentiable& function, const Point& from, const Vector& direction, double slope) {
  constexpr double kDecrease = 1e-4, kCurvature = 0.9;
  constexpr int kTrials = 60;
  double low = 0, high = std::numeric_limits<double>::infinity(), t = 1;
  Point best = from;
  for (int trial = 0; trial < kTrials; ++trial) {
    Point point{moved(from.x, t, direction), Vector(from.x.size()), 0};
    point.value = function(point.x, point.gradient);
    if (!(point.value <= from.value + kDecrease * t * slope)) {  // NaN included
      high = t;
    } else {
      best = point;
      if (dot(point.gradient, direction) >= kCurvature * slope) return best;
      low = t;
    }
    t = std::isinf(high) ? 2 * low : (low + high) / 2;
  }
  return best;
}

}  // namespace

Minimum minimise(const Differentiable& function, std::vector<double> start, const LbfgsOptions& options) {
  Point at{std::move(start), {}, 0};
  at.gradient.resize(at.x.size());
  at.value = function(at.x, at.gradient);
  std::deque<Pair> pairs;
  int64_t steps = 0;
  while (steps < options.steps) {
    Vector direction = descent(pairs, at.gradient);
    double slope = dot(direction, at.gradient);
    if (!(slope < 0)) {
      if (pairs.empty()) break;
      pairs.clear();
      continue;
    }
    const Point next = line_search(function, at, direction, slope);
    ++steps;
    const double gain = at.value - next.value;
    if (!(gain > options.tolerance * std::abs(at.value))) {
      if (pairs.empty()) break;
      pairs.clear();  // once more along the gradient itself
      if (gain > 0) at = next;
      continue;
    }
    Pair pair{moved(next.x, -1, at.x), moved(next.gradient, -1, at.gradient), 0};
    pair.curvature = dot(pair.step, pair.change);
    if (pair.curvature > 0) pairs.push_back(std::move(pair));
    if (static_cast<int64_t>(pairs.size()) > options.memory) pairs.pop_front();
    at = next;
  }
  return {at.x, at.value, steps};
}

}  // namespace espalier
