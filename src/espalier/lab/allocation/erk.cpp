#include "espalier/lab/allocation/erk.h"

#include <algorithm>
#include <numeric>

#include "espalier/core/error.h"

namespace espalier {
namespace {

struct Layer {
  double count = 0, quotient = 0;
  bool dense = false;
};

std::vector<Layer> layers_of(const std::vector<Shape>& shapes) {
  std::vector<Layer> layers;
  for (const Shape& shape : shapes) {
    const auto count = static_cast<double>(element_count(shape));
    const auto sizes = static_cast<double>(std::accumulate(shape.begin(), shape.end(), int64_t{0}));
    layers.push_back({count, count > 0 ? sizes / count : 0, count == 0});
  }
  return layers;
}

// The factor under which the layers that are not dense use up the rest of the budget.
double factor_of(const std::vector<Layer>& layers, double density) {
  double left = 0, weight = 0;
  for (const Layer& layer : layers) {
    left += layer.count * (layer.dense ? density - 1 : density);
    if (!layer.dense) weight += layer.quotient * layer.count;
  }
  return left / weight;
}

}  // namespace

std::vector<double> erk_densities(const std::vector<Shape>& shapes, double density) {
  if (!(density > 0 && density <= 1)) throw UserError("erk", "density", "above 0, at most 1", fmt::format("{}", density));
  std::vector<Layer> layers = layers_of(shapes);
  const auto is_dense = [](const Layer& layer) { return layer.dense; };
  if (std::all_of(layers.begin(), layers.end(), is_dense)) user_error("erk: there are no weights to share a density");
  double factor = 0;
  for (;;) {
    double largest = 0;
    for (const Layer& layer : layers)
      if (!layer.dense) largest = std::max(largest, layer.quotient);
    if (largest == 0) break;  // density 1: every layer has become dense
    factor = factor_of(layers, density);
    if (!(factor * largest > 1)) break;
    for (Layer& layer : layers) layer.dense = layer.dense || layer.quotient == largest;
  }
  std::vector<double> densities;
  for (const Layer& layer : layers) densities.push_back(layer.dense ? 1 : factor * layer.quotient);
  return densities;
}

}  // namespace espalier
