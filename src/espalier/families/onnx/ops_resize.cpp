// Resize, Upsample and Pad.
#include <algorithm>

#include "espalier/families/onnx/import_ops.h"

namespace espalier::ops_resize {
namespace {

// The entries of the spatial dims. With the attribute `axes` the given ones are of those dims alone.
template <typename T>
std::vector<T> spatial_part(NodeImport& n, const std::vector<T>& given, const std::vector<T>& unchanged,
                            const char* what) {
  const size_t rank = n.rank(0);
  std::vector<T> all = unchanged;
  const auto axes = n.integers("axes");
  if (given.size() != (axes.empty() ? rank : axes.size()))
    n.refuse(what, fmt::format("{} numbers", axes.empty() ? rank : axes.size()), std::to_string(given.size()));
  for (size_t i = 0; i < given.size(); ++i) all[axes.empty() ? i : n.axis(axes[i], rank)] = given[i];
  for (size_t d = 0; d < 2; ++d)
    if (all[d] != unchanged[d]) NodeImport::not_understood("it resizes the batch or the channels");
  return {all.begin() + 2, all.end()};
}

void check_modes(NodeImport& n, const std::string& coordinates) {
  const std::string known[] = {"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"};
  if (std::find(std::begin(known), std::end(known), coordinates) == std::end(known))
    NodeImport::not_understood(fmt::format("it maps coordinates by {}", printable(coordinates)));
  if (n.integer("antialias", 0) != 0) NodeImport::not_understood("it smooths");
  if (n.text("keep_aspect_ratio_policy", "stretch") != "stretch")
    NodeImport::not_understood("it keeps the aspect ratio");
}

std::vector<double> reals(NodeImport& n, size_t i, const char* what) {
  const Known* found = n.known(i);
  if (!found || !found->real()) NodeImport::not_understood(fmt::format("its {} are not constant", what));
  return found->reals;
}

// Up to operator set 10 there are only scales, and coordinates are asymmetric and rounded down.
void resize(NodeImport& n) {
  const size_t rank = n.rank(0);
  if (rank < 3 || rank > 4) NodeImport::not_understood("it has no or more than two spatial dims");
  const bool old = n.op_type() == "Upsample" || n.opset() < 11;
  std::string mode = n.text("mode", "nearest");
  if (mode == "bilinear") mode = "linear";
  if (mode != "nearest" && mode != "linear") NodeImport::not_understood(fmt::format("its mode is {}", printable(mode)));
  Node node{"Resize", "", {n.value(0)}, {}, {}, {{"mode", mode}}};
  const std::string coordinates = old ? "asymmetric" : n.text("coordinate_transformation_mode", "half_pixel");
  node.attributes["coordinates"] = coordinates;
  node.attributes["nearest_mode"] = old ? "floor" : n.text("nearest_mode", "round_prefer_floor");
  check_modes(n, coordinates);
  const size_t scales_at = old ? 1 : 2;
  if (!old && n.has(3)) {
    const Known* sizes = n.known_at(3, false);
    if (!sizes || sizes->real()) NodeImport::not_understood("its sizes are not constant");
    node.attributes["sizes"] = spatial_part(n, sizes->ints, n.shape(0), "sizes");
  } else {
    node.attributes["scales"] = spatial_part(n, reals(n, scales_at, "scales"), std::vector<double>(rank, 1), "scales");
  }
  n.give(std::move(node));
}

// Begins and ends of all dims. From operator set 18 on they may be of some axes.
std::vector<int64_t> all_pads(NodeImport& n) {
  const size_t rank = n.rank(0);
  const auto given = n.integers(1, "pads");
  if (!given) n.refuse("pads", "numbers", "none");
  const auto axes = n.integers(3, "axes");
  const size_t count = axes ? axes->size() : rank;
  if (given->size() != 2 * count) n.refuse("pads", fmt::format("{} numbers", 2 * count), std::to_string(given->size()));
  if (!axes) return *given;
  std::vector<int64_t> pads(2 * rank, 0);
  for (size_t i = 0; i < count; ++i) {
    const size_t axis = n.axis((*axes)[i], rank);
    pads[axis] = (*given)[i];
    pads[axis + rank] = (*given)[i + count];
  }
  return pads;
}

// What negative pads cut off; the pads are then 0 there.
ValueId cropped(NodeImport& n, ValueId x, std::vector<int64_t>& pads) {
  const size_t rank = pads.size() / 2;
  std::vector<int64_t> axes, starts, ends;
  for (size_t d = 0; d < rank; ++d) {
    if (pads[d] >= 0 && pads[d + rank] >= 0) continue;
    axes.push_back(static_cast<int64_t>(d));
    starts.push_back(std::max<int64_t>(0, -std::max<int64_t>(pads[d], INT32_MIN)));
    const int64_t end = std::min<int64_t>(0, pads[d + rank]);
    ends.push_back(end == 0 ? INT64_MAX : end);
    pads[d] = std::max<int64_t>(0, pads[d]);
    pads[d + rank] = std::max<int64_t>(0, pads[d + rank]);
  }
  if (axes.empty()) return x;
  return n.add("crop", "Slice", {x}, {{"axes", axes}, {"starts", starts}, {"ends", ends}});
}

void pad(NodeImport& n) {
  auto pads = all_pads(n);
  if (std::all_of(pads.begin(), pads.end(), [](int64_t value) { return value == 0; })) return n.alias();
  const std::string mode = n.text("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge")
    NodeImport::not_understood(fmt::format("its mode is {}", printable(mode)));
  double value = n.opset() < 11 ? n.real("value", 0) : 0;
  if (n.opset() >= 11 && n.has(2)) {
    const auto given = n.scalar(2);
    if (!given) NodeImport::not_understood("its value is not constant");
    value = *given;
  }
  const ValueId x = cropped(n, n.value(0), pads);
  n.give("Pad", {x}, {{"pads", pads}, {"mode", mode}, {"value", value}});
}

const RegisterOnnxImport registered[] = {{"Resize", resize}, {"Upsample", resize}, {"Pad", pad}};

}  // namespace
}  // namespace espalier::ops_resize
