// Pieces that vision models (and encoders of text) build their graphs from. Every value has its shape from the start,
// so each piece checks its tensors against what flows in; an error names the configuration, the tensor, what was
// expected and found. Batches have the size 1 in these shapes and any size when the graph runs.
#pragma once

#include <string>
#include <vector>

#include "espalier/families/vision_weights.h"

namespace espalier {

struct ConvSpec {
  static constexpr int64_t kDepthwise = -1;  // as many groups as channels
  static constexpr int64_t kOfTensor = 0;    // as many as the weight's second dim says; fresh: 1

  Width out;  // depthwise: as many as come in
  int64_t kernel = 1, stride = 1, padding = 0;
  int64_t group = 1;
  bool bias = false;
  int64_t fresh_group = 1;  // with kOfTensor
};

struct AttentionSpec {
  int64_t head_size = 0;
  double scale = 1;
};

class VisionBuilder {
 public:
  explicit VisionBuilder(WeightSource source) : source_(std::move(source)) {}

  WeightSource& source() { return source_; }
  const std::string& where() const { return source_.where(); }
  const Shape& shape(ValueId value) const { return graph_.values[static_cast<size_t>(value)].shape; }
  int64_t channels(ValueId value) const { return shape(value).at(1); }
  int64_t width(ValueId value) const { return shape(value).back(); }
  void set_block(int block) { block_ = block; }

  ValueId pictures(int64_t channels, int64_t height, int64_t width);
  ValueId token_ids(int64_t tokens);  // input_ids [1, tokens]

  // Convolutions start from He et al.'s normal with fan out; Linear layers uniformly within 1/sqrt(in), as frameworks
  // do, or, after use_truncated_normal, from a normal of that deviation. Biases 0, norms the identity.
  void use_truncated_normal(double deviation) { truncated_ = deviation; }
  ValueId conv(const std::string& name, ValueId x, const ConvSpec& spec);
  ValueId batch_norm(const std::string& name, ValueId x, double epsilon = 1e-5);
  ValueId linear(const std::string& name, ValueId x, Width out, bool bias = true);
  // With names of its own for weight and bias (empty: none).
  ValueId linear(const std::string& name, ValueId x, Width out, const std::string& weight, const std::string& bias);
  ValueId tied_linear(const std::string& name, ValueId x, const std::string& weight, const std::string& bias);
  ValueId layer_norm(const std::string& name, ValueId x, double epsilon);  // .weight and .bias, or .gamma and .beta
  ValueId embedding(const std::string& name, ValueId ids, int64_t rows, Width width);
  ValueId position_embedding(const std::string& name, ValueId ids, int64_t rows, int64_t width);
  // A parameter as a value; see graph/ops/constant.cpp for fixed_axes.
  ValueId constant(const std::string& tensor, const Shape& shape, std::vector<int64_t> fixed_axes = {});
  ValueId constant_values(const std::string& name, const Shape& shape, std::vector<double> values);

  ValueId activation(const std::string& name, ValueId x, const std::string& kind);
  ValueId relu(const std::string& name, ValueId x) { return activation(name, x, "relu"); }
  ValueId relu6(const std::string& name, ValueId x);
  ValueId max_pool(const std::string& name, ValueId x, int64_t kernel, int64_t stride, int64_t padding,
                   bool ceil = false);
  ValueId average_pool(const std::string& name, ValueId x, int64_t kernel);
  ValueId pooled_features(const std::string& name, ValueId x);  // mean over all positions: [n, c]
  ValueId add(const std::string& name, ValueId a, ValueId b) { return emit("Add", name, {a, b}); }
  ValueId mul(const std::string& name, ValueId a, ValueId b) { return emit("Mul", name, {a, b}); }
  ValueId matmul(const std::string& name, ValueId a, ValueId b) { return emit("MatMul", name, {a, b}); }
  ValueId softmax(const std::string& name, ValueId x) { return emit("Softmax", name, {x}); }
  ValueId concat(const std::string& name, const std::vector<ValueId>& inputs, int64_t axis);
  std::vector<ValueId> split(const std::string& name, ValueId x, int64_t axis, const std::vector<int64_t>& sizes);
  ValueId flatten(const std::string& name, ValueId x) { return emit("Flatten", name, {x}); }
  ValueId reshape(const std::string& name, ValueId x, const std::vector<int64_t>& shape);
  ValueId transpose(const std::string& name, ValueId x, const std::vector<int64_t>& perm);
  ValueId pad(const std::string& name, ValueId x, const std::vector<int64_t>& pads);
  ValueId slice(const std::string& name, ValueId x, const std::vector<int64_t>& axes, const std::vector<int64_t>& ends,
                int64_t step = 1);  // from 0 on
  ValueId gather(const std::string& name, ValueId x, int64_t axis, const std::vector<int64_t>& indices);
  ValueId pick(const std::string& name, ValueId x, int64_t axis, int64_t index);  // the axis goes
  ValueId reduce_mean(const std::string& name, ValueId x, int64_t axis);          // the axis goes
  // Every token looks at every token: softmax(q kᵀ · scale) v, per head.
  ValueId attention(const std::string& name, ValueId q, ValueId k, ValueId v, const AttentionSpec& spec);

  Graph finish(std::vector<ValueId> outputs, int blocks, bool (*ignored)(const std::string& tensor));

 private:
  using Attributes = std::map<std::string, Attribute>;
  using Params = std::map<std::string, std::string>;
  std::vector<ValueId> emit_all(Node node, size_t outputs);
  ValueId emit(const char* op, const std::string& name, std::vector<ValueId> inputs, Attributes attributes = {},
               Params params = {});
  void parameter(Params& params, const char* role, const std::string& tensor, const Shape& shape,
                 const Initial& initial);
  void norm_parameters(Params& params, const std::string& weight, const std::string& bias, int64_t width);
  Initial table_values() const { return Initial::truncated(truncated_ > 0 ? truncated_ : 0.02); }
  int64_t groups_of(const std::string& weight, const ConvSpec& spec, int64_t channels);

  WeightSource source_;
  Graph graph_;
  int block_ = -1;
  double truncated_ = 0;
};

}  // namespace espalier
