// Resize of the 1 or 2 spatial dims of [n, C, …], to `sizes` (integers) or by `scales` (reals), one entry a spatial
// dim. Attributes: `mode` nearest or linear; `coordinates` (ONNX coordinate_transformation_mode): half_pixel (default),
// pytorch_half_pixel, asymmetric, align_corners; `nearest_mode`: round_prefer_floor (default), round_prefer_ceil,
// floor, ceil.
#include <cmath>

#include "espalier/graph/ops/pool_rules.h"

namespace espalier::resize_op {
namespace {

void check_choice(const NodeView& view, const std::string& key, const std::string& otherwise,
                  const std::vector<std::string>& known) {
  const std::string found = view.node().text_or(key, otherwise);
  if (std::find(known.begin(), known.end(), found) == known.end())
    throw UserError(view.node().name, key, fmt::format("one of {}", fmt::join(known, ", ")), printable(found));
}

int64_t scaled(const NodeView& view, int64_t size, double scale) {
  if (!(scale > 0 && scale <= 65536))
    throw UserError(view.node().name, "scales", "numbers above 0, at most 65536", fmt::format("{}", scale));
  return static_cast<int64_t>(std::floor(static_cast<double>(size) * scale));
}

std::vector<Shape> infer(const NodeView& view) {
  const Shape& x = view.input(0);
  check_rank(view, x, 3, 4);
  check_choice(view, "mode", "nearest", {"nearest", "linear"});
  check_choice(view, "coordinates", "half_pixel", {"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"});
  check_choice(view, "nearest_mode", "round_prefer_floor",
               {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"});
  Shape out{x[0], x[1]};
  if (view.node().attributes.count("sizes")) {
    const auto& sizes = view.node().integers("sizes");
    check_entries(view, "sizes", sizes, x.size() - 2, 1);
    out.insert(out.end(), sizes.begin(), sizes.end());
    return {out};
  }
  const auto& scales = std::get<std::vector<double>>(view.node().attributes.at("scales"));
  if (scales.size() != x.size() - 2)
    throw UserError(view.node().name, "scales", fmt::format("{} numbers", x.size() - 2),
                    fmt::format("{}", scales.size()));
  for (size_t i = 0; i < scales.size(); ++i) out.push_back(scaled(view, x[i + 2], scales[i]));
  return {out};
}

Cost cost(const NodeView& view) {
  return elementwise_cost(view, view.node().text_or("mode", "nearest") == "linear" ? 7 : 0);
}

const RegisterOperator registered({"Resize", infer, cost, couple_pool});

}  // namespace
}  // namespace espalier::resize_op
