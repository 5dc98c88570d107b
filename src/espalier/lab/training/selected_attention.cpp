#include "espalier/lab/training/selected_attention.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/interpreter/masked_attention.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

AttentionLayer layer_of(const Graph& graph, const Node& node, const std::string& model) {
  if (!node.flag_or("causal", true)) throw UserError(model, node.name, "attention to earlier tokens", "attention that looks ahead");
  if (node.inputs.size() > 3) throw UserError(model, node.name, "attention without a mask of its own", "a mask");
  const auto width = [&](size_t input) { return graph.values[static_cast<size_t>(node.inputs[input])].shape.back(); };
  AttentionLayer layer;
  layer.head_size = node.integer("head_size");
  layer.heads = width(0) / layer.head_size, layer.kv_heads = width(1) / layer.head_size;
  layer.scale = node.real("scale"), layer.window = node.integer_or("window", 0);
  return layer;
}

// [batch, tokens, heads · size] → [batch · heads, tokens, size]: head h of text b is row b · heads + h, so that query heads
// still stand beside those of their group.
at::Tensor heads_as_batch(const at::Tensor& x, int64_t size) { return x.unflatten(-1, {-1, size}).transpose(1, 2).flatten(0, 1); }

at::Tensor attend(const std::vector<at::Tensor>& inputs, const AttentionLayer& layer, const at::Tensor& mask) {
  const int64_t batch = inputs[0].size(0);
  const at::Tensor q = heads_as_batch(inputs[0], layer.head_size), k = heads_as_batch(inputs[1], layer.head_size), v = heads_as_batch(inputs[2], layer.head_size);
  const at::Tensor out = masked_attention(q, k, v, mask.repeat({batch, 1, 1}), layer.scale).out;
  return out.unflatten(0, {batch, -1}).transpose(1, 2).flatten(-2);
}

}  // namespace

SelectedAttention::SelectedAttention(const Model& model, const AttentionRequest& request) {
  Graph graph = model.graph.clone();
  infer_shapes(graph, costing_shapes(model));
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].op != "Attention") continue;
    layer_of_[static_cast<NodeId>(n)] = static_cast<int>(layers_.size());
    layers_.push_back(layer_of(graph, graph.nodes[n], model.path.string()));
  }
  if (layers_.empty()) user_error("{}: there is no attention", model.path.string());
  policy_ = make_policy(request, layers_, model.context_length);
  observer_.before = [this](NodeId n, const Node&, std::vector<at::Tensor>& inputs) {
    if (layer_of_.count(n) > 0) read_ = inputs;
  };
  observer_.after = [this](NodeId n, const Node&, std::vector<at::Tensor>& outputs) {
    const auto found = layer_of_.find(n);
    if (found == layer_of_.end()) return;
    const at::Tensor& seen = mask(found->second, read_[0].size(1));
    if (seen.defined()) outputs[0] = attend(read_, layers_[static_cast<size_t>(found->second)], seen);
    read_.clear();
  };
}

const at::Tensor& SelectedAttention::mask(int layer, int64_t tokens) const {
  const auto [entry, fresh] = masks_.try_emplace({layer, tokens});
  if (!fresh) return entry->second;
  std::vector<at::Tensor> heads;
  for (int64_t g = 0; g < layers_[static_cast<size_t>(layer)].kv_heads; ++g) heads.push_back(rows_of(layer, g, tokens));
  const at::Tensor all = at::stack(heads);
  Selection everything;
  const at::Tensor dense = selection_mask(everything, 0, tokens, tokens, layers_[static_cast<size_t>(layer)].window);
  if (!at::equal(all, dense.expand_as(all))) entry->second = all;
  return entry->second;
}

// [tokens, tokens]
at::Tensor SelectedAttention::rows_of(int layer, int64_t kv_head, int64_t tokens) const {
  const int64_t block = policy_->needs().query_block > 0 ? policy_->needs().query_block : 1;
  std::vector<at::Tensor> parts;
  for (int64_t position = 0; position < tokens; position += block) {
    const int64_t rows = std::min(block, tokens - position);
    Selection selection;
    policy_->select({layer, kv_head, -1, position, rows, nullptr, 0, nullptr}, selection);
    parts.push_back(selection_mask(selection, position, rows, tokens, layers_[static_cast<size_t>(layer)].window));
  }
  return at::cat(parts);
}

}  // namespace espalier
