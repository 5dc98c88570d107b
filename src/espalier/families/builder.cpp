#include "espalier/families/builder.h"

#include <map>

#include "espalier/core/error.h"

namespace espalier {

Node GraphBuilder::start(const char* op, const std::string& name, std::vector<ValueId> inputs) {
  Node node;
  node.op = op;
  node.name = name;
  node.inputs = std::move(inputs);
  node.block = block_;
  return node;
}

ValueId GraphBuilder::emit(Node node) {
  const ValueId output = graph_.add_value(node.name);
  node.outputs = {output};
  graph_.add_node(std::move(node));
  return output;
}

void GraphBuilder::weight(Node& node, const std::string& role, const std::string& tensor, const Shape& expected) {
  if (!checkpoint_.has(tensor))
    user_error("{}: the architecture needs the tensor '{}', which the checkpoint lacks", where_, tensor);
  const Shape& shape = checkpoint_.shape(tensor);
  const DType dtype = checkpoint_.dtype(tensor);
  if (shape != expected)
    throw UserError(where_, fmt::format("shape of the tensor '{}'", tensor), to_string(expected), to_string(shape));
  if (!is_floating(dtype))
    throw UserError(where_, fmt::format("type of the tensor '{}'", tensor), "a floating type",
                    std::string(name_of(dtype)));
  // Packed weights are unpacked when somebody asks for them.
  if (!graph_.has_parameter(tensor))
    graph_.add_parameter(
        {tensor, dtype, shape, [owner = checkpoint_.shared_from_this(), tensor] { return owner->tensor(tensor); }});
  node.params[role] = tensor;
}

ValueId GraphBuilder::token_ids() {
  const ValueId ids = graph_.add_value("input_ids");
  graph_.inputs.push_back(ids);
  return ids;
}

ValueId GraphBuilder::embedding(const std::string& name, ValueId ids, int64_t vocab, int64_t width) {
  Node node = start("Embedding", name, {ids});
  weight(node, "weight", name + ".weight", {vocab, width});
  return emit(std::move(node));
}

ValueId GraphBuilder::position_embedding(const std::string& name, ValueId ids, int64_t positions, int64_t width,
                                         int64_t offset) {
  Node node = start("PositionEmbedding", name, {ids});
  weight(node, "weight", name + ".weight", {positions + offset, width});
  node.attributes["offset"] = offset;
  return emit(std::move(node));
}

ValueId GraphBuilder::linear(const std::string& name, ValueId x, int64_t in, int64_t out, bool bias, bool transposed) {
  Node node = start("Linear", name, {x});
  weight(node, "weight", name + ".weight", transposed ? Shape{in, out} : Shape{out, in});
  if (bias) weight(node, "bias", name + ".bias", {out});
  if (transposed) node.attributes["transposed"] = true;
  return emit(std::move(node));
}

ValueId GraphBuilder::tied_linear(const std::string& name, ValueId x, const std::string& shared, int64_t biased_out) {
  Node node = start("Linear", name, {x});
  ESP_ASSERT(graph_.has_parameter(shared));
  node.params["weight"] = shared;
  if (biased_out > 0) weight(node, "bias", name + ".bias", {biased_out});
  return emit(std::move(node));
}

ValueId GraphBuilder::layer_norm(const std::string& name, ValueId x, int64_t width, double epsilon, bool affine) {
  Node node = start("LayerNorm", name, {x});
  if (affine) {
    weight(node, "weight", name + ".weight", {width});
    weight(node, "bias", name + ".bias", {width});
  }
  node.attributes["epsilon"] = epsilon;
  return emit(std::move(node));
}

ValueId GraphBuilder::rms_norm(const std::string& name, ValueId x, int64_t width, double epsilon) {
  Node node = start("RMSNorm", name, {x});
  weight(node, "weight", name + ".weight", {width});
  node.attributes["epsilon"] = epsilon;
  return emit(std::move(node));
}

ValueId GraphBuilder::head_norm(const std::string& name, ValueId x, int64_t head_size, double epsilon) {
  Node node = start("RMSNorm", name, {x});
  weight(node, "weight", name + ".weight", {head_size});
  node.attributes["epsilon"] = epsilon;
  node.attributes["head_size"] = head_size;
  return emit(std::move(node));
}

ValueId GraphBuilder::head_layer_norm(const std::string& name, ValueId x, int64_t head_size, double epsilon) {
  Node node = start("LayerNorm", name, {x});
  weight(node, "weight", name + ".weight", {head_size});
  weight(node, "bias", name + ".bias", {head_size});
  node.attributes["epsilon"] = epsilon;
  node.attributes["head_size"] = head_size;
  return emit(std::move(node));
}

ValueId GraphBuilder::rotary(const std::string& name, ValueId x, int64_t head_size,
                             const std::vector<double>& inverse_frequency, double scale) {
  Node node = start("RotaryEmbedding", name, {x});
  node.attributes["head_size"] = head_size;
  node.attributes["inverse_frequency"] = inverse_frequency;
  node.attributes["scale"] = scale;
  return emit(std::move(node));
}

ValueId GraphBuilder::attention(const std::string& name, ValueId q, ValueId k, ValueId v, int64_t head_size,
                                double scale, int64_t window) {
  Node node = start("Attention", name, {q, k, v});
  node.attributes["head_size"] = head_size;
  node.attributes["scale"] = scale;
  node.attributes["window"] = window;
  return emit(std::move(node));
}

ValueId GraphBuilder::activation(const std::string& name, ValueId x, const std::string& kind) {
  Node node = start("Activation", name, {x});
  node.attributes["kind"] = kind;
  return emit(std::move(node));
}

ValueId GraphBuilder::add(const std::string& name, ValueId a, ValueId b) { return emit(start("Add", name, {a, b})); }
ValueId GraphBuilder::mul(const std::string& name, ValueId a, ValueId b) { return emit(start("Mul", name, {a, b})); }

std::vector<ValueId> GraphBuilder::split(const std::string& name, ValueId x, const std::vector<int64_t>& sizes) {
  Node node = start("Split", name, {x});
  node.attributes["sizes"] = sizes;
  for (size_t i = 0; i < sizes.size(); ++i) node.outputs.push_back(graph_.add_value(fmt::format("{}.{}", name, i)));
  auto outputs = node.outputs;
  graph_.add_node(std::move(node));
  return outputs;
}

Graph GraphBuilder::finish(ValueId output, int blocks, bool (*ignored)(const std::string& tensor)) {
  for (const auto& tensor : checkpoint_.names())
    if (!graph_.has_parameter(tensor) && !ignored(tensor))
      user_error("{}: the checkpoint holds the tensor '{}' {}, which this architecture does not have", where_,
                 printable(tensor), to_string(checkpoint_.shape(tensor)));
  graph_.outputs = {output};
  graph_.block_count = blocks;
  graph_.check();
  return std::move(graph_);
}

std::string block_name(const std::string& pattern, int64_t index) {
  std::string name = pattern;
  return name.replace(name.find("{}"), 2, std::to_string(index));
}

int64_t blocks_present(const std::vector<std::string>& tensors, const std::string& prefix_pattern) {
  int64_t present = 0;
  const size_t head = prefix_pattern.find("{}");
  for (const auto& name : tensors) {
    if (name.compare(0, head, prefix_pattern, 0, head) != 0) continue;
    const std::string digits = name.substr(head, name.find('.', head) - head);
    if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    present = std::max<int64_t>(present, std::stoll(digits) + 1);
  }
  return present;
}

int64_t layer_count(const Json& config, const std::string& key, const Checkpoint& checkpoint,
                    const std::string& prefix_pattern, const std::string& where) {
  const int64_t layers = json_int(config, key, where, 0, INT32_MAX);
  const int64_t present = blocks_present(checkpoint.names(), prefix_pattern);
  // A block that lost both branches leaves no tensors behind and is not written, so the last index must be there.
  if (present != layers)
    throw UserError(where, key,
                    fmt::format("{}, as many as the checkpoint has tensors for ('{}')", present, prefix_pattern),
                    fmt::format("{}", layers));
  return layers;
}

std::string activation_kind(const std::string& word, const std::string& where) {
  static const std::map<std::string, std::string> kinds = {{"silu", "silu"},
                                                           {"swish", "silu"},
                                                           {"gelu", "gelu"},
                                                           {"gelu_new", "gelu_tanh"},
                                                           {"gelu_fast", "gelu_tanh"},
                                                           {"gelu_tanh", "gelu_tanh"},
                                                           {"gelu_pytorch_tanh", "gelu_tanh"},
                                                           {"relu", "relu"}};
  auto found = kinds.find(word);
  if (found == kinds.end()) throw UserError(where, "activation", "silu, gelu, gelu_new or relu", printable(word));
  return found->second;
}

}  // namespace espalier
