#include "espalier/engine/ops/dnnl_tools.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/engine/kernels.h"

namespace espalier {
namespace {

using dnnl::algorithm;

// What an execution needs, at hand: nothing is looked up or allocated when it runs.
struct Execution {
  dnnl::primitive primitive;
  dnnl::stream stream{dnnl_cpu()};
  std::vector<dnnl::memory> inputs, outputs, fixed;
  dnnl::memory scratch;
  std::vector<dnnl_exec_arg_t> arguments;

  void bind(const StepPointers& p) {
    for (size_t i = 0; i < inputs.size(); ++i) inputs[i].set_data_handle(const_cast<std::byte*>(p.in[i]));
    for (size_t i = 0; i < outputs.size(); ++i) outputs[i].set_data_handle(p.out[i]);
    if (scratch) scratch.set_data_handle(p.scratch);
  }
  void run() {
    const auto status =
        dnnl_primitive_execute(primitive.get(), stream.get(), static_cast<int>(arguments.size()), arguments.data());
    ESP_ASSERT(status == dnnl_success, "oneDNN: status {}", static_cast<int>(status));
  }
};

void add_memory(Execution& execution, std::vector<dnnl::memory>& list, int id, const dnnl::memory::desc& desc) {
  list.push_back(dnnl::memory(desc, dnnl_cpu(), DNNL_MEMORY_NONE));
  execution.arguments.push_back({id, list.back().get()});
}

std::vector<float> channel_param(const Graph& graph, const Node& node, const char* role, int64_t channels,
                                 float otherwise) {
  if (!node.has_param(role)) return std::vector<float>(static_cast<size_t>(channels), otherwise);
  return graph.parameter_of(node, role).load().to_floats();
}

}  // namespace

const dnnl::engine& dnnl_cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc dnnl_desc(const Shape& shape, const Shape& strides) {
  return {shape, dnnl::memory::data_type::f32, strides};
}

std::optional<Eltwise> dnnl_eltwise(const Node& activation) {
  const std::string kind = activation.text("kind");
  auto real = [&](const char* key, double otherwise) {
    constexpr double kMost = std::numeric_limits<float>::max();
    return static_cast<float>(std::clamp(activation.real_or(key, otherwise), -kMost, kMost));
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (kind == "relu") return Eltwise{algorithm::eltwise_relu};
  if (kind == "leaky_relu") return Eltwise{algorithm::eltwise_relu, real("alpha", 0.01)};
  if (kind == "elu") return Eltwise{algorithm::eltwise_elu, real("alpha", 1)};
  if (kind == "clip") return Eltwise{algorithm::eltwise_clip, real("min", -kInfinity), real("max", kInfinity)};
  if (kind == "sigmoid") return Eltwise{algorithm::eltwise_logistic};
  if (kind == "silu") return Eltwise{algorithm::eltwise_swish, 1};
  if (kind == "quick_gelu") return Eltwise{algorithm::eltwise_swish, 1.702f};
  if (kind == "gelu") return Eltwise{algorithm::eltwise_gelu_erf};
  if (kind == "gelu_tanh") return Eltwise{algorithm::eltwise_gelu_tanh};
  if (kind == "tanh") return Eltwise{algorithm::eltwise_tanh};
  if (kind == "hardswish") return Eltwise{algorithm::eltwise_hardswish};
  if (kind == "exp") return Eltwise{algorithm::eltwise_exp};
  if (kind == "abs") return Eltwise{algorithm::eltwise_abs};
  return std::nullopt;
}

VectorActivation vector_activation(const Node& activation) {
  const bool wide = static_cast<int>(simd_level()) >= static_cast<int>(SimdLevel::kAvx512);
  return wide && activation.text("kind") == "silu" ? vector_kernels().silu : nullptr;
}

PostOps post_ops(Lowering& lowering, const Shape& shape, const Shape& strides, const dnnl::memory::desc& desc) {
  PostOps result;
  dnnl::post_ops ops;
  for (const FusedNode::Tail& tail : lowering.fused().tail) {
    if (tail.other < 0) {
      const Eltwise eltwise = *dnnl_eltwise(*tail.node);
      ops.append_eltwise(1.0f, eltwise.algorithm, eltwise.alpha, eltwise.beta);
      continue;
    }
    const View given = lowering.as_type(lowering.value(tail.other), DType::kF32);
    if (ops.len() == 0 && has_strides(given, strides) && lowering.may_overwrite(given)) {
      result.sum = given;
      ops.append_sum(1.0f);
      continue;
    }
    const View other = lowering.with_strides(given, strides);
    ESP_ASSERT(other.shape == shape, "{}", tail.node->name);
    result.operands.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(ops.len()) | DNNL_ARG_SRC_1, other, desc});
    ops.append_binary(algorithm::binary_add, desc);
  }
  result.attributes.set_post_ops(ops);
  result.attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return result;
}

void add_primitive(Lowering& lowering, Primitive primitive) {
  auto execution = std::make_shared<Execution>();
  execution->primitive = primitive.primitive;
  for (const PrimitiveArg& arg : primitive.inputs) add_memory(*execution, execution->inputs, arg.id, arg.desc);
  for (const PrimitiveArg& arg : primitive.outputs) add_memory(*execution, execution->outputs, arg.id, arg.desc);
  for (const auto& [id, memory] : primitive.fixed) {
    execution->fixed.push_back(memory);
    execution->arguments.push_back({id, memory.get()});
  }
  const uint64_t scratch = primitive.scratchpad.get_size();
  if (scratch > 0) {
    execution->scratch = dnnl::memory(primitive.scratchpad, dnnl_cpu(), DNNL_MEMORY_NONE);
    execution->arguments.push_back({DNNL_ARG_SCRATCHPAD, execution->scratch.get()});
  }
  std::vector<View> inputs, outputs;
  for (const PrimitiveArg& arg : primitive.inputs) inputs.push_back(arg.view);
  for (const PrimitiveArg& arg : primitive.outputs) outputs.push_back(arg.view);
  lowering.step(
      std::move(inputs), std::move(outputs), [execution](const StepPointers&) { execution->run(); }, scratch,
      [execution](const StepPointers& p) { execution->bind(p); });
}

dnnl::memory dnnl_weights(const std::vector<float>& values, const dnnl::memory::desc& from,
                          const dnnl::memory::desc& to) {
  dnnl::memory result(to, dnnl_cpu());
  if (from == to) {
    std::memcpy(result.get_data_handle(), values.data(), values.size() * sizeof(float));
    return result;
  }
  dnnl::memory source(from, dnnl_cpu(), const_cast<float*>(values.data()));
  dnnl::stream stream(dnnl_cpu());
  dnnl::reorder(source, result).execute(stream, source, result);
  stream.wait();
  return result;
}

ChannelAffine batch_norm_affine(const Graph& graph, const Node& node, int64_t channels) {
  const auto weight = channel_param(graph, node, "weight", channels, 1),
             bias = channel_param(graph, node, "bias", channels, 0),
             mean = channel_param(graph, node, "mean", channels, 0),
             var = channel_param(graph, node, "var", channels, 1);
  ChannelAffine affine;
  for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
    const double scale = weight[c] / std::sqrt(static_cast<double>(var[c]) + node.real("epsilon"));
    affine.scale.push_back(static_cast<float>(scale));
    affine.shift.push_back(static_cast<float>(bias[c] - scale * mean[c]));
  }
  return affine;
}

}  // namespace espalier
