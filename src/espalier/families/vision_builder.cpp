#include "espalier/families/vision_builder.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {

std::vector<ValueId> VisionBuilder::emit_all(Node node, size_t outputs) {
  node.block = block_;
  std::vector<Shape> shapes;
  try {
    shapes = infer_outputs(graph_, node);
  } catch (const UserError& error) {
    user_error("{}: {}", source_.where(), error.what());
  }
  ESP_ASSERT(shapes.size() == outputs, "{}", node.name);
  for (size_t i = 0; i < outputs; ++i) {
    node.outputs.push_back(graph_.add_value(outputs == 1 ? node.name : fmt::format("{}.{}", node.name, i)));
    graph_.values.back().shape = std::move(shapes[i]);
  }
  auto made = node.outputs;
  graph_.add_node(std::move(node));
  return made;
}

ValueId VisionBuilder::emit(const char* op, const std::string& name, std::vector<ValueId> inputs, Attributes attributes,
                            Params params) {
  Node node;
  node.op = op;
  node.name = name;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  node.params = std::move(params);
  return emit_all(std::move(node), 1)[0];
}

void VisionBuilder::parameter(Params& params, const char* role, const std::string& tensor, const Shape& shape,
                              const Initial& initial) {
  source_.declare(graph_, tensor, shape, initial);
  params[role] = tensor;
}

ValueId VisionBuilder::pictures(int64_t channels, int64_t height, int64_t width) {
  const ValueId value = graph_.add_value("pixel_values");
  graph_.values.back().shape = {1, channels, height, width};
  graph_.inputs.push_back(value);
  return value;
}

ValueId VisionBuilder::token_ids(int64_t tokens) {
  const ValueId value = graph_.add_value("input_ids");
  graph_.values.back().shape = {1, tokens};
  graph_.inputs.push_back(value);
  return value;
}

int64_t VisionBuilder::groups_of(const std::string& weight, const ConvSpec& spec, int64_t channels) {
  if (spec.group == ConvSpec::kDepthwise) return channels;
  if (spec.group != ConvSpec::kOfTensor) return spec.group;
  if (source_.is_fresh()) return spec.fresh_group;
  const Shape& shape = source_.shape(weight);
  const int64_t each = shape.size() > 1 ? shape[1] : 0;
  return each > 0 && channels % each == 0 ? channels / each : 1;
}

ValueId VisionBuilder::conv(const std::string& name, ValueId x, const ConvSpec& spec) {
  const std::string weight = name + ".weight";
  const int64_t in = channels(x), group = groups_of(weight, spec, in);
  const Width wanted = spec.group == ConvSpec::kDepthwise ? exactly(in) : spec.out;
  const int64_t out = source_.out_width(name, weight, wanted);
  if (in % group != 0 || out % group != 0)
    throw UserError(source_.where(), fmt::format("groups of '{}'", name),
                    fmt::format("a divisor of {} and {} channels", in, out), fmt::format("{}", group));
  const double fan_out = static_cast<double>(out / group * spec.kernel * spec.kernel);
  Params params;
  parameter(params, "weight", weight, {out, in / group, spec.kernel, spec.kernel},
            truncated_ > 0 ? Initial::truncated(truncated_) : Initial::normal(std::sqrt(2 / fan_out)));
  if (spec.bias) parameter(params, "bias", name + ".bias", {out}, Initial::constant(0));
  const int64_t p = spec.padding;
  return emit("Conv", name, {x},
              {{"group", group},
               {"strides", std::vector<int64_t>{spec.stride, spec.stride}},
               {"pads", std::vector<int64_t>{p, p, p, p}}},
              std::move(params));
}

void VisionBuilder::norm_parameters(Params& params, const std::string& weight, const std::string& bias, int64_t width) {
  parameter(params, "weight", weight, {width}, Initial::constant(1));
  parameter(params, "bias", bias, {width}, Initial::constant(0));
}

ValueId VisionBuilder::batch_norm(const std::string& name, ValueId x, double epsilon) {
  const int64_t width = channels(x);
  Params params;
  norm_parameters(params, name + ".weight", name + ".bias", width);
  parameter(params, "mean", name + ".running_mean", {width}, Initial::constant(0));
  parameter(params, "var", name + ".running_var", {width}, Initial::constant(1));
  return emit("BatchNorm", name, {x}, {{"epsilon", epsilon}}, std::move(params));
}

ValueId VisionBuilder::linear(const std::string& name, ValueId x, Width out, bool bias) {
  return linear(name, x, out, name + ".weight", bias ? name + ".bias" : "");
}

ValueId VisionBuilder::linear(const std::string& name, ValueId x, Width wanted, const std::string& weight,
                              const std::string& bias) {
  const int64_t in = width(x), out = source_.out_width(name, weight, wanted);
  Params params;
  parameter(params, "weight", weight, {out, in},
            truncated_ > 0 ? Initial::truncated(truncated_)
                           : Initial::uniform(1 / std::sqrt(static_cast<double>(std::max<int64_t>(in, 1)))));
  if (!bias.empty()) parameter(params, "bias", bias, {out}, Initial::constant(0));
  return emit("Linear", name, {x}, {}, std::move(params));
}

ValueId VisionBuilder::tied_linear(const std::string& name, ValueId x, const std::string& weight,
                                   const std::string& bias) {
  ESP_ASSERT(graph_.has_parameter(weight));
  Params params{{"weight", weight}};
  if (!bias.empty()) parameter(params, "bias", bias, {graph_.parameter(weight).shape()[0]}, Initial::constant(0));
  return emit("Linear", name, {x}, {}, std::move(params));
}

ValueId VisionBuilder::layer_norm(const std::string& name, ValueId x, double epsilon) {
  const bool old_names = source_.has(name + ".gamma");
  Params params;
  norm_parameters(params, name + (old_names ? ".gamma" : ".weight"), name + (old_names ? ".beta" : ".bias"), width(x));
  return emit("LayerNorm", name, {x}, {{"epsilon", epsilon}}, std::move(params));
}

ValueId VisionBuilder::embedding(const std::string& name, ValueId ids, int64_t rows, Width wanted) {
  const std::string weight = name + ".weight";
  int64_t width = wanted.value;
  if (!source_.is_fresh() && !wanted.fixed) {  // the table is [rows, width]
    const Shape& shape = source_.shape(weight);
    width = shape.size() == 2 ? shape[1] : width;
  }
  Params params;
  parameter(params, "weight", weight, {rows, width}, table_values());
  return emit("Embedding", name, {ids}, {}, std::move(params));
}

ValueId VisionBuilder::position_embedding(const std::string& name, ValueId ids, int64_t rows, int64_t width) {
  Params params;
  parameter(params, "weight", name + ".weight", {rows, width}, table_values());
  return emit("PositionEmbedding", name, {ids}, {{"offset", int64_t{0}}}, std::move(params));
}

ValueId VisionBuilder::constant(const std::string& tensor, const Shape& shape, std::vector<int64_t> fixed_axes) {
  Params params;
  parameter(params, "value", tensor, shape, table_values());
  Attributes attributes;
  if (!fixed_axes.empty()) attributes["fixed_axes"] = std::move(fixed_axes);
  return emit("Constant", tensor, {}, std::move(attributes), std::move(params));
}

ValueId VisionBuilder::constant_values(const std::string& name, const Shape& shape, std::vector<double> values) {
  return emit("Constant", name, {}, {{"shape", shape}, {"values", std::move(values)}});
}

Graph VisionBuilder::finish(std::vector<ValueId> outputs, int blocks, bool (*ignored)(const std::string& tensor)) {
  source_.check_all_used(graph_, ignored);
  graph_.outputs = std::move(outputs);
  graph_.block_count = blocks;
  graph_.check();
  return std::move(graph_);
}

}  // namespace espalier
