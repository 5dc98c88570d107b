#include "espalier/families/onnx/layout_map.h"

#include <algorithm>

#include "espalier/graph/ops/slice_indices.h"

namespace espalier {
namespace {

int64_t size_of_factors(const LayoutFactors& factors) {
  int64_t size = 1;
  for (const LayoutFactor& factor : factors) size *= factor.size;
  return size;
}

// Index `index` of a dim, as elements.
int64_t offset_of(const LayoutFactors& factors, int64_t index) {
  int64_t offset = 0;
  for (size_t f = factors.size(); f-- > 0;) {
    offset += index % factors[f].size * factors[f].stride;
    index /= factors[f].size;
  }
  return offset;
}

// Every step-th of `count` indices from `first` on.
bool take(LayoutMap& map, size_t axis, int64_t first, int64_t count, int64_t step) {
  LayoutFactors& factors = map.dims[axis];
  if (first == 0 && step == 1 && count == size_of_factors(factors)) return true;
  if (count == 1) {
    map.offset += offset_of(factors, first);
    factors.clear();
    return true;
  }
  if (factors.empty()) return false;
  const int64_t inner = size_of_factors(factors) / factors[0].size;
  if (inner > 1 && (step != 1 || first % inner != 0 || count % inner != 0)) return false;
  map.offset += offset_of(factors, first);
  factors[0] = {count / inner, factors[0].stride * step};
  if (factors[0].size == 1) factors.erase(factors.begin());
  return true;
}

// Of lists as long as this the parts of a packed layer have no need.
constexpr size_t kMostIndices = 1 << 12;

bool take_indices(LayoutMap& map, size_t axis, std::vector<int64_t> indices, int64_t size) {
  if (indices.empty()) return false;
  for (int64_t& index : indices)
    if (index < 0) index += size;
  const int64_t step = indices.size() > 1 ? indices[1] - indices[0] : 1;
  for (size_t i = 1; i < indices.size(); ++i)
    if (indices[i] - indices[i - 1] != step) return false;
  return step > 0 && take(map, axis, indices[0], std::ssize(indices), step);
}

// The same elements in order under other sizes.
bool reshape(LayoutMap& map, const Shape& shape) {
  LayoutFactors left = map.flat();
  std::reverse(left.begin(), left.end());  // the next factor is the last one
  std::vector<LayoutFactors> dims;
  for (int64_t size : shape) {
    LayoutFactors dim;
    while (size > 1) {
      if (left.empty()) return false;
      LayoutFactor& factor = left.back();
      if (size % factor.size == 0) {
        size /= factor.size;
        dim.push_back(factor);
        left.pop_back();
      } else if (factor.size % size == 0) {
        factor.size /= size;
        dim.push_back({size, factor.stride * factor.size});
        size = 1;
      } else {
        return false;
      }
    }
    dims.push_back(joined(dim));
  }
  map.dims = std::move(dims);
  return left.empty();
}

size_t axis_of(int64_t axis, size_t rank) {
  return static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(rank) : axis);
}

constexpr int64_t kMostSliced = 1 << 16;

bool take_slices(const Node& node, LayoutMap& map, const Shape& in) {
  const auto &axes = node.integers("axes"), &starts = node.integers("starts"), &ends = node.integers("ends");
  const auto steps = node.integers_or("steps", std::vector<int64_t>(axes.size(), 1));
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = axis_of(axes[i], in.size());
    if (in[axis] > kMostSliced) return false;
    if (!take_indices(map, axis, slice_indices(in[axis], starts[i], ends[i], steps[i]), in[axis])) return false;
  }
  return true;
}

bool take_part(const Node& node, LayoutMap& map, const Shape& in, ValueId output) {
  const size_t axis = axis_of(node.integer_or("axis", -1), in.size());
  int64_t first = 0;
  for (size_t i = 0; i < node.outputs.size(); first += node.integers("sizes")[i++])
    if (node.outputs[i] == output) {
      const int64_t count = node.integers("sizes")[i];
      return count > 0 && take(map, axis, first, count, 1);
    }
  return false;
}

bool expand(LayoutMap& map, const Shape& in, const Shape& out) {
  map.dims.insert(map.dims.begin(), out.size() - in.size(), {});
  for (size_t d = 0; d < out.size(); ++d) {
    const size_t added = out.size() - in.size();
    const int64_t before = d < added ? 1 : in[d - added];
    if (before != out[d]) map.dims[d] = {{out[d], 0}};
  }
  return true;
}

bool apply(const Node& node, LayoutMap& map, const Shape& in, const Shape& out, ValueId output) {
  if (node.op == "Transpose") {
    std::vector<LayoutFactors> dims;
    for (int64_t axis : node.integers("perm")) dims.push_back(map.dims[static_cast<size_t>(axis)]);
    map.dims = std::move(dims);
    return true;
  }
  if (node.op == "Slice") return take_slices(node, map, in);
  if (node.op == "Split") return take_part(node, map, in, output);
  if (node.op == "Expand") return expand(map, in, out);
  if (node.op == "Gather") {
    const size_t axis = axis_of(node.integer("axis"), in.size());
    const auto& indices = node.integers("indices");
    if (indices.size() > kMostIndices || !take_indices(map, axis, indices, in[axis])) return false;
    if (node.flag_or("scalar", false)) map.dims.erase(map.dims.begin() + static_cast<int64_t>(axis));
    return true;
  }
  if (node.op == "Repeat") {
    LayoutFactors& factors = map.dims[axis_of(node.integer("axis"), in.size())];
    if (node.integer("repeats") > 1) factors.push_back({node.integer("repeats"), 0});
    return true;
  }
  return reshape(map, out);  // Reshape, Flatten, Squeeze, Unsqueeze
}

}  // namespace

LayoutFactors joined(const LayoutFactors& factors) {
  LayoutFactors result;
  for (const LayoutFactor& factor : factors) {
    if (factor.size == 1) continue;
    if (!result.empty() && result.back().stride == factor.stride * factor.size) {
      result.back() = {result.back().size * factor.size, factor.stride};
    } else {
      result.push_back(factor);
    }
  }
  return result;
}

LayoutMap LayoutMap::identity(const Shape& shape) {
  LayoutMap map;
  map.dims.resize(shape.size());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0; stride *= shape[d])
    if (shape[d] != 1) map.dims[d] = {{shape[d], stride}};
  return map;
}

LayoutFactors LayoutMap::flat() const {
  LayoutFactors all;
  for (const LayoutFactors& dim : dims) all.insert(all.end(), dim.begin(), dim.end());
  return joined(all);
}

bool is_layout(const Node& node) {
  static constexpr std::string_view kMoving[] = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
                                                 "Split",   "Slice",   "Gather",  "Repeat",    "Expand"};
  const bool is_table = node.op == "Gather" && node.flag_or("table", false);
  return !is_table && std::find(std::begin(kMoving), std::end(kMoving), node.op) != std::end(kMoving);
}

std::optional<LayoutMap> map_through(const Node& node, const LayoutMap& map, const Shape& in, const Shape& out,
                                     ValueId output) {
  LayoutMap result = map;
  const auto is_empty = [](const Shape& shape) { return std::count(shape.begin(), shape.end(), 0) > 0; };
  if (is_empty(in) || is_empty(out) || !apply(node, result, in, out, output)) return std::nullopt;
  return result;
}

}  // namespace espalier
