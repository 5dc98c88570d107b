// A Linear or a convolution as a plain matrix product: the columns that its weight multiplies, and Gram matrices of them.
// Convolutions with groups are as many products, one a group.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

// Whether the node is a Linear or a Conv whose weight is a parameter.
bool is_weighted_layer(const Node& node);

// The weight's axis of inputs: what is cut when the layer loses inputs.
size_t input_axis(const Node& node);

// Conv windows.
struct LayerShape {
  int64_t groups = 1, outputs = 0, inputs = 0;  // outputs and inputs (channels × kernel) of one group
  int64_t kernel = 1;                           // elements of the kernel: columns that one channel takes
};
LayerShape layer_shape(const Graph& graph, const Node& node);

// fp32 [groups, outputs, inputs] of a stored weight, and back.
at::Tensor layer_matrix(const Node& node, const at::Tensor& weight, const LayerShape& shape);
at::Tensor stored_weight(const Node& node, const at::Tensor& matrix, const at::Tensor& like);

// Which output positions of a convolution count, when there are more than are needed: the same of every picture, chosen
// by the seed and the layer's name, ascending. Undefined: all.
at::Tensor sampled_positions(const Graph& graph, const Node& node, int64_t pictures, int64_t columns, uint64_t seed);

// fp32 [groups, columns, inputs]: what the layer's weight is multiplied with, a column an output position.
at::Tensor layer_columns(const Graph& graph, const Node& node, const at::Tensor& x, const at::Tensor& positions);
// fp32 [groups, columns, outputs]: the layer's output in the same order.
at::Tensor layer_outputs(const Graph& graph, const Node& node, const at::Tensor& y, const at::Tensor& positions);

// Sum over calls of X^T X, [groups, inputs, inputs]; products in fp32, the sum in fp64 (fp32 above kWideGram inputs).
class LayerGram {
 public:
  explicit LayerGram(std::string name) : name_(std::move(name)) {}
  void add(const at::Tensor& columns);                          // [groups, columns, inputs]
  at::Tensor gram() const;                                      // UserError naming the layer: nothing seen, not finite
  int64_t columns() const { return columns_; }

 private:
  std::string name_;
  int64_t columns_ = 0;
  at::Tensor sum_;
};

}  // namespace espalier
