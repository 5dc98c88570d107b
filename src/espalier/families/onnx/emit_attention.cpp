// Attention and rotary positions. Their shapes hold for any batch and any number of tokens: a 0 in a Reshape copies a
// size, and masks and angles follow from the length at run time, so that the model knows no longest sequence.
#include <limits>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export_emitter.h"
#include "espalier/graph/ops/attention_masks.h"

namespace espalier::emit_attention {
namespace {

constexpr OnnxDataType kFloat = OnnxDataType::kFloat;

// [batch, tokens, heads · size] → [batch, tokens, heads, size]
std::string heads_of(OnnxEmitter& e, size_t input, int64_t head_size) {
  return e.reshape(e.in(input), {0, 0, e.shape(input).back() / head_size, head_size});
}

// 0, 1, … below the size of the axis: [size]
std::string positions(OnnxEmitter& e, size_t input, int64_t axis) {
  const std::string size = e.emit("Gather", {e.emit("Shape", {e.in(input)}), e.integer(axis)}, {onnx_int("axis", 0)});
  return e.emit("Range", {e.integer(0), size, e.integer(1)});
}

// true where a query must not look: the future, and what the window has left behind. [queries, keys]
std::string forbidden(OnnxEmitter& e, int64_t window) {
  const std::string key = fmt::format("mask {} {} {}", window, e.shapes().signature(e.node().inputs[0], 1),
                                      e.shapes().signature(e.node().inputs[1], 1));
  return e.shared(key, "causal_mask", [&] {
    const std::string queries = e.unsqueeze(positions(e, 0, 1), {1}), keys = positions(e, 1, 1);
    const std::string future = e.emit("Greater", {keys, queries});
    if (window == 0) return future;
    const std::string seen = e.emit("Less", {e.emit("Sub", {queries, keys}), e.integer(window)});
    return e.emit("Or", {future, e.emit("Not", {seen})});
  });
}

// Each KV head for the query heads that share it: [b, K, tokens, size] → [b, H, tokens, size]
std::string repeated(OnnxEmitter& e, const std::string& x, int64_t heads, int64_t group, int64_t head_size) {
  if (group == 1) return x;
  const std::string copies = e.emit("Expand", {e.unsqueeze(x, {2}), e.ints({1, 1, group, 1, 1})});
  return e.reshape(copies, {0, heads, -1, head_size});
}

// Input 3 + i does to the scores what the node says. Masks that repeat over the batch get a dim of their own.
std::string masked(OnnxEmitter& e, std::string scores, size_t i, int64_t heads) {
  const size_t input = 3 + i;
  const Shape& shape = e.shape(input);
  const auto& inputs = e.node().inputs;
  const bool repeats = shape.size() == 4 && shape[0] != 1 &&
                       e.shapes().signature(inputs[input], 0) != e.shapes().signature(inputs[0], 0);
  const int64_t queries = e.shape(0).at(1), keys = e.shape(1).at(1);
  if (repeats) scores = e.reshape(scores, {-1, shape[0], heads, queries, keys});
  const int64_t kind = e.node().integers("masks")[i];
  if (kind == kAddMask) {
    scores = e.emit("Add", {scores, e.cast(e.in(input), e.type(input), e.type())});
  } else {
    const std::string truth = e.cast(e.in(input), e.type(input), OnnxDataType::kBool);
    const std::string number = e.scalar(attention_fills(e.node())[i], e.type());
    scores = kind == kFillWhere ? e.emit("Where", {truth, number, scores}) : e.emit("Where", {truth, scores, number});
  }
  return repeats ? e.reshape(scores, {-1, heads, queries, keys}) : scores;
}

void attention(OnnxEmitter& e) {
  const Node& node = e.node();
  const int64_t head_size = node.integer("head_size");
  const int64_t heads = e.shape(0).back() / head_size, group = e.shape(0).back() / e.shape(1).back();
  const std::vector<int64_t> by_head{0, 2, 1, 3};
  std::string q = e.transpose(heads_of(e, 0, head_size), by_head);
  if (node.real("scale") != 1) q = e.emit("Mul", {q, e.scalar(node.real("scale"), e.type())});
  const std::string v = repeated(e, e.transpose(heads_of(e, 2, head_size), by_head), heads, group, head_size);
  std::string k = heads_of(e, 1, head_size);
  k = group == 1 ? e.transpose(k, {0, 2, 3, 1})
                 : e.transpose(repeated(e, e.transpose(k, by_head), heads, group, head_size), {0, 1, 3, 2});
  std::string scores = e.emit("MatMul", {q, k});
  for (size_t i = 0; i + 3 < node.inputs.size(); ++i) scores = masked(e, std::move(scores), i, heads);
  if (node.flag_or("causal", true)) {
    const std::string never = e.scalar(-std::numeric_limits<double>::infinity(), e.type());
    scores = e.emit("Where", {forbidden(e, node.integer_or("window", 0)), never, scores});
  }
  const std::string mixed = e.emit("MatMul", {e.emit("Softmax", {scores}, {onnx_int("axis", -1)}), v});
  e.finish("Reshape", {e.transpose(mixed, by_head), e.ints({0, 0, e.shape(0).back()})});
}

struct Angles {
  std::string cosine, sine;  // [tokens, 1, rotary]
};

// In fp32, as the models were trained with. The frequencies stand twice, for both halves of a head.
std::string angle(OnnxEmitter& e, const std::vector<double>& frequencies, const std::string& tokens) {
  std::vector<float> twice(frequencies.begin(), frequencies.end());
  twice.insert(twice.end(), frequencies.begin(), frequencies.end());
  const std::string table = e.constant("rotary/inverse_frequency", Tensor::from_floats({1, 1, std::ssize(twice)}, twice));
  return e.shared(fmt::format("angle {} {}", table, tokens), "rotary", [&] {
    const std::string at = e.cast(positions(e, 0, 1), OnnxDataType::kInt64, kFloat);
    return e.emit("Mul", {e.unsqueeze(at, {1, 2}), table});
  });
}

Angles angles(OnnxEmitter& e) {
  const auto& frequencies = std::get<std::vector<double>>(e.node().attributes.at("inverse_frequency"));
  const std::string turned = angle(e, frequencies, e.shapes().signature(e.node().inputs[0], 1));
  const double scale = e.node().real("scale");
  const auto table = [&](const char* function) {
    const std::string key = fmt::format("{} {} {} {}", function, turned, scale, static_cast<int>(e.type()));
    return e.shared(key, "rotary", [&] {
      std::string values = e.emit(function, {turned});
      if (scale != 1) values = e.emit("Mul", {values, e.scalar(scale, kFloat)});
      return e.cast(values, kFloat, e.type());
    });
  };
  return {table("Cos"), table("Sin")};
}

// x · cos + (−second half, first half) · sin; channels beyond the rotated ones pass.
void rotary_embedding(OnnxEmitter& e) {
  const auto& frequencies = std::get<std::vector<double>>(e.node().attributes.at("inverse_frequency"));
  const int64_t head_size = e.node().integer("head_size"), half = std::ssize(frequencies);
  const Angles by = angles(e);
  const std::string x = heads_of(e, 0, head_size);
  const std::string first = e.slice(x, 3, 0, half), second = e.slice(x, 3, half, 2 * half);
  const std::string rotated = 2 * half < head_size ? e.slice(x, 3, 0, 2 * half) : x;
  const std::string turned = e.emit("Concat", {e.emit("Neg", {second}), first}, {onnx_int("axis", -1)});
  std::string y = e.emit("Add", {e.emit("Mul", {rotated, by.cosine}), e.emit("Mul", {turned, by.sine})});
  if (2 * half < head_size) y = e.emit("Concat", {y, e.slice(x, 3, 2 * half, head_size)}, {onnx_int("axis", -1)});
  e.finish("Reshape", {y, e.ints({0, 0, e.shape().back()})});
}

const RegisterOnnxEmit registered[] = {{"Attention", attention}, {"RotaryEmbedding", rotary_embedding}};

}  // namespace
}  // namespace espalier::emit_attention
