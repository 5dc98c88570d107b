// oneDNN for operators: descriptors of views, fused tails as post-ops, primitives as steps.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "espalier/engine/ops/lowering.h"

namespace espalier {

const dnnl::engine& dnnl_cpu();

dnnl::memory::desc dnnl_desc(const Shape& shape, const Shape& strides);
inline dnnl::memory::desc dnnl_desc(const View& view) { return dnnl_desc(view.shape, view.strides); }

// How oneDNN calls an Activation, if it does.
struct Eltwise {
  dnnl::algorithm algorithm;
  float alpha = 0, beta = 0;
};
std::optional<Eltwise> dnnl_eltwise(const Node& activation);
// Our own kernel where it is so much faster than oneDNN's (SiLU: 0.25 against 0.55 ns an element, AVX-512) that a pass
// of its own pays. Null: none.
using VectorActivation = void (*)(const float* x, int64_t n, float* y);
VectorActivation vector_activation(const Node& activation);
inline bool is_post_op(const Node& activation) { return dnnl_eltwise(activation) && !vector_activation(activation); }

struct PrimitiveArg {
  int id;
  View view;
  dnnl::memory::desc desc;
};

// The tail of a fused node whose output has this shape and these strides, which the primitive knows as `desc`. `sum` is
// the residual that it adds up into: the output must be that view.
struct PostOps {
  dnnl::primitive_attr attributes;  // with the caller's scratchpad
  std::vector<PrimitiveArg> operands;
  std::optional<View> sum;
};
PostOps post_ops(Lowering& lowering, const Shape& shape, const Shape& strides, const dnnl::memory::desc& desc);

struct Primitive {
  dnnl::primitive primitive;
  dnnl::memory::desc scratchpad;
  std::vector<PrimitiveArg> inputs, outputs;
  std::vector<std::pair<int, dnnl::memory>> fixed;  // weights
};
void add_primitive(Lowering& lowering, Primitive primitive);

// Weights in the order of `from`, as the primitive wants them. Keeps `values` alive where it may use them as they are.
dnnl::memory dnnl_weights(const std::vector<float>& values, const dnnl::memory::desc& from,
                          const dnnl::memory::desc& to);

// scale · w + shift over the outputs of the weights, from a BatchNorm node.
struct ChannelAffine {
  std::vector<float> scale, shift;
};
ChannelAffine batch_norm_affine(const Graph& graph, const Node& node, int64_t channels);

// Weights and bias with the BatchNorm of a fused node in them. channel_of gives the output that an element serves.
struct FoldedWeights {
  std::vector<float> weight, bias;  // bias may be empty
};
template <typename ChannelOf>
FoldedWeights folded_weights(const Lowering& lowering, int64_t outputs, const ChannelOf& channel_of) {
  FoldedWeights folded{lowering.floats("weight"), {}};
  if (lowering.node().has_param("bias")) folded.bias = lowering.floats("bias");
  if (!lowering.fused().batch_norm) return folded;
  const ChannelAffine affine = batch_norm_affine(lowering.graph(), *lowering.fused().batch_norm, outputs);
  for (size_t i = 0; i < folded.weight.size(); ++i)
    folded.weight[i] *= affine.scale[static_cast<size_t>(channel_of(static_cast<int64_t>(i)))];
  folded.bias.resize(static_cast<size_t>(outputs), 0);
  for (size_t o = 0; o < folded.bias.size(); ++o) folded.bias[o] = folded.bias[o] * affine.scale[o] + affine.shift[o];
  return folded;
}

}  // namespace espalier
