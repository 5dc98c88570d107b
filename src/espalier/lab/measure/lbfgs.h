// Minimisation of a smooth function of a few variables: limited-memory BFGS (Nocedal and Wright, "Numerical
// Optimization", algorithm 7.5) with a line search that bisects to the weak Wolfe conditions (Lewis and Overton, 2013),
// which also ends where the function has kinks.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace espalier {

// The value at x; writes the gradient there.
using Differentiable = std::function<double(const std::vector<double>& x, std::vector<double>& gradient)>;

struct LbfgsOptions {
  int64_t steps = 5000;
  double tolerance = 1e-10;  // ends when a step lowers the value by less than this share of it
  int64_t memory = 10;       // pairs of steps and gradient changes
};

struct Minimum {
  std::vector<double> x;
  double value = 0;
  int64_t steps = 0;
};

Minimum minimise(const Differentiable& function, std::vector<double> start, const LbfgsOptions& options = {});

}  // namespace espalier
