#include "espalier/engine/ops/view.h"

#include <algorithm>
#include <numeric>

namespace espalier {
namespace {

Shape strides_in_order(const Shape& shape, const std::vector<size_t>& outermost_first) {
  Shape strides(shape.size());
  int64_t stride = 1;
  for (size_t i = outermost_first.size(); i-- > 0;) {
    strides[outermost_first[i]] = stride;
    stride *= shape[outermost_first[i]];
  }
  return strides;
}

}  // namespace

Shape contiguous_strides(const Shape& shape) {
  std::vector<size_t> order(shape.size());
  std::iota(order.begin(), order.end(), size_t{0});
  return strides_in_order(shape, order);
}

Shape channels_last_strides(const Shape& shape) {
  std::vector<size_t> order{0};
  for (size_t d = 2; d < shape.size(); ++d) order.push_back(d);
  order.push_back(1);
  return strides_in_order(shape, order);
}

bool has_strides(const View& view, const Shape& strides) {
  if (view.count() == 0) return true;
  for (size_t d = 0; d < view.rank(); ++d)
    if (view.shape[d] != 1 && view.strides[d] != strides[d]) return false;
  return true;
}

bool is_dense(const View& view) {
  std::vector<size_t> order(view.rank());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return view.strides[a] > view.strides[b]; });
  return has_strides(view, strides_in_order(view.shape, order));
}

// Runs of input dims that lie one inside the other are cut anew; a new dim may not cross two runs.
std::optional<View> reshaped(const View& view, const Shape& shape) {
  View result = view;
  result.shape = shape;
  if (view.count() == 0 || is_contiguous(view)) {
    result.strides = contiguous_strides(shape);
    return result;
  }
  result.strides.assign(shape.size(), 1);
  auto to = static_cast<int64_t>(shape.size()) - 1;
  int64_t run = 1, taken = 1, inner = view.strides.back();
  for (auto d = static_cast<int64_t>(view.rank()) - 1; d >= 0; --d) {
    const auto at = static_cast<size_t>(d);
    run *= view.shape[at];
    const bool ends = d == 0 || (view.shape[at - 1] != 1 && view.strides[at - 1] != run * inner);
    if (!ends) continue;
    while (to >= 0 && (taken < run || shape[static_cast<size_t>(to)] == 1)) {
      result.strides[static_cast<size_t>(to)] = taken * inner;
      taken *= shape[static_cast<size_t>(to--)];
    }
    if (taken != run) return std::nullopt;
    if (d > 0) inner = view.strides[at - 1];
    run = taken = 1;
  }
  return to == -1 ? std::optional(result) : std::nullopt;
}

Shape broadcast_strides(const View& view, const Shape& shape) {
  Shape strides(shape.size(), 0);
  for (size_t d = 0; d < view.rank(); ++d)
    if (view.shape[d] != 1) strides[shape.size() - view.rank() + d] = view.strides[d];
  return strides;
}

}  // namespace espalier
