#include "espalier/lab/measure/layer_columns.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/lab/interpreter/windows.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

const Shape& weight_shape(const Graph& graph, const Node& node) { return graph.parameter_of(node, "weight").shape(); }

int64_t positions_of(const Graph& graph, const Node& node) {
  const Shape& y = graph.values[static_cast<size_t>(node.outputs[0])].shape;
  int64_t count = 1;
  for (size_t i = 2; i < y.size(); ++i) count *= y[i];
  return count;
}

// A convolution over two spatial dims; a 1-D one has height 1.
struct Window {
  std::vector<int64_t> kernel, strides, dilations;
};

Window window_of(const Node& node, const Shape& weight) {
  const size_t spatial = weight.size() - 2;
  Window window{{weight.begin() + 2, weight.end()},
                node.integers_or("strides", std::vector<int64_t>(spatial, 1)),
                node.integers_or("dilations", std::vector<int64_t>(spatial, 1))};
  if (spatial == 1)
    for (auto* list : {&window.kernel, &window.strides, &window.dilations}) list->insert(list->begin(), 1);
  return window;
}

// The patches at some output positions only, [n, C · kernel, positions]: unfolding all of them first would cost more than
// the Gram matrix.
at::Tensor patches_at(const at::Tensor& x, const Window& w, const at::Tensor& positions) {
  const int64_t out_width = (x.size(3) - w.dilations[1] * (w.kernel[1] - 1) - 1) / w.strides[1] + 1;
  const at::Tensor rows = positions.div(out_width, "floor") * w.strides[0], columns = positions.remainder(out_width) * w.strides[1];
  std::vector<at::Tensor> elements;
  for (int64_t ky = 0; ky < w.kernel[0]; ++ky)
    for (int64_t kx = 0; kx < w.kernel[1]; ++kx)
      elements.push_back((rows + ky * w.dilations[0]) * x.size(3) + columns + kx * w.dilations[1]);
  const at::Tensor at = at::stack(elements).flatten();  // [kernel · positions]
  return x.flatten(2).index_select(2, at).reshape({x.size(0), -1, positions.numel()});
}

at::Tensor picked(const at::Tensor& per_position, const at::Tensor& positions) {
  return positions.defined() ? per_position.index_select(2, positions) : per_position;
}

// [n, groups · width, positions] → [groups, n · positions, width]
at::Tensor by_group(const at::Tensor& x, int64_t groups) {
  return x.view({x.size(0), groups, -1, x.size(2)}).permute({1, 0, 3, 2}).flatten(1, 2).contiguous();
}

// Elements of a convolution's patches, channel by channel: [n, C · kernel, positions].
at::Tensor unfold(const Node& node, at::Tensor x, const Shape& weight, const at::Tensor& positions) {
  const Window window = window_of(node, weight);
  x = pad_spatial(x, node.integers_or("pads", std::vector<int64_t>(2 * (weight.size() - 2), 0)), 0);
  if (x.dim() == 3) x = x.unsqueeze(2);
  return positions.defined() ? patches_at(x, window, positions) : at::im2col(x, window.kernel, window.dilations, {0, 0}, window.strides);
}

}  // namespace

bool is_weighted_layer(const Node& node) { return node.op == "Linear" || node.op == "Conv"; }

size_t input_axis(const Node& node) { return node.op == "Linear" && node.flag_or("transposed", false) ? 0 : 1; }

LayerShape layer_shape(const Graph& graph, const Node& node) {
  const Shape& weight = weight_shape(graph, node);
  if (node.op == "Linear") return {1, weight[1 - input_axis(node)], weight[input_axis(node)], 1};
  LayerShape shape{node.integer_or("group", 1), 0, weight[1], 1};
  for (size_t i = 2; i < weight.size(); ++i) shape.kernel *= weight[i];
  shape.outputs = weight[0] / shape.groups;
  shape.inputs *= shape.kernel;
  return shape;
}

at::Tensor layer_matrix(const Node& node, const at::Tensor& weight, const LayerShape& shape) {
  const at::Tensor rows = node.op == "Linear" && input_axis(node) == 0 ? weight.t() : weight;
  return rows.reshape({shape.groups, shape.outputs, shape.inputs}).to(at::kFloat);
}

at::Tensor stored_weight(const Node& node, const at::Tensor& matrix, const at::Tensor& like) {
  if (node.op == "Linear") return (input_axis(node) == 0 ? matrix[0].t() : matrix[0]).contiguous();
  return matrix.reshape(like.sizes()).contiguous();
}

at::Tensor sampled_positions(const Graph& graph, const Node& node, int64_t pictures, int64_t columns, uint64_t seed) {
  if (node.op == "Linear") return {};
  const int64_t available = positions_of(graph, node), wanted = std::max<int64_t>(1, columns / std::max<int64_t>(1, pictures));
  if (wanted >= available) return {};
  auto chosen = Rng(seed, "positions/" + node.name).sample(available, wanted);
  std::sort(chosen.begin(), chosen.end());
  return at::tensor(chosen, at::kLong);
}

at::Tensor layer_columns(const Graph& graph, const Node& node, const at::Tensor& x, const at::Tensor& positions) {
  if (node.op == "Linear") return as_tokens(x, x.size(-1), node.name).unsqueeze(0);
  return by_group(unfold(node, x.to(at::kFloat), weight_shape(graph, node), positions), node.integer_or("group", 1));
}

at::Tensor layer_outputs(const Graph&, const Node& node, const at::Tensor& y, const at::Tensor& positions) {
  if (node.op == "Linear") return as_tokens(y, y.size(-1), node.name).unsqueeze(0);
  return by_group(picked(y.to(at::kFloat).flatten(2), positions).contiguous(), node.integer_or("group", 1));
}

void LayerGram::add(const at::Tensor& columns) {
  const at::Tensor product = at::bmm(columns.transpose(1, 2), columns);
  const auto type = columns.size(2) <= kWideGram ? at::kDouble : at::kFloat;
  if (!sum_.defined()) sum_ = at::zeros(product.sizes(), type);
  sum_.add_(product);
  columns_ += columns.size(1);
}

at::Tensor LayerGram::gram() const {
  if (columns_ == 0) user_error("{}: no calibration data reached the layer", name_);
  if (!at::isfinite(sum_.sum()).item<bool>()) user_error("{}: the layer's inputs are not finite", name_);
  return sum_;
}

}  // namespace espalier
