// How the numbers of trainings went: a plot for each metric, a line for each run.
#pragma once

#include <string>
#include <vector>

#include "espalier/lab/training/training.h"

namespace espalier {

struct RunCurves {
  std::string name;
  std::vector<Metric> metrics;
};

// Of one metric; steps along x. Values that are not finite are left out. "" when no run has two points of it.
std::string curve_svg(const std::vector<RunCurves>& runs, const std::string& metric);

// All metrics, the loss first, and a table of each run's last values.
std::string curves_page(const std::vector<RunCurves>& runs);

}  // namespace espalier
