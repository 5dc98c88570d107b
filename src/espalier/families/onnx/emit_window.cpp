// Convolutions and pooling.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export_emitter.h"
#include "espalier/graph/ops/window_rules.h"

namespace espalier::emit_window {
namespace {

using Attributes = std::vector<OnnxAttribute>;

Window window_at(OnnxEmitter& e, std::vector<int64_t> kernel) {
  return window_of(NodeView(e.graph(), e.node()), std::move(kernel));
}

Attributes window_attributes(const Window& window, bool dilations) {
  Attributes attributes{onnx_ints("kernel_shape", window.kernel), onnx_ints("strides", window.strides),
                        onnx_ints("pads", window.pads)};
  if (dilations) attributes.push_back(onnx_ints("dilations", window.dilations));
  return attributes;
}

void conv(OnnxEmitter& e) {
  const Shape& weight = e.param_shape("weight");
  Attributes attributes = window_attributes(window_at(e, {weight.begin() + 2, weight.end()}), true);
  attributes.push_back(onnx_int("group", e.node().integer_or("group", 1)));
  if (e.node().attributes.count("output_padding"))
    attributes.push_back(onnx_ints("output_padding", e.node().integers("output_padding")));
  e.finish(e.node().op,
           {e.in(), e.param("weight", e.type()), e.node().has_param("bias") ? e.param("bias", e.type()) : ""},
           std::move(attributes));
}

// Runtimes differ in whether a last window may lie in the padding alone, so the flag is written only where a window
// really overhangs the end, or where that depends on open sizes.
bool writes_ceil_mode(OnnxEmitter& e, const Window& window) {
  if (!e.node().flag_or("ceil_mode", false)) return false;
  const NodeView view(e.graph(), e.node());
  for (size_t i = 0; i < window.kernel.size(); ++i) {
    const int64_t size = e.shape()[i + 2];
    if (!e.is_fixed(0, i + 2) || window_count(view, window, i, size, true) != window_count(view, window, i, size, false))
      return true;
  }
  return false;
}

Attributes pool_attributes(OnnxEmitter& e, const Window& window, bool dilations) {
  Attributes attributes = window_attributes(window, dilations);
  if (writes_ceil_mode(e, window)) attributes.push_back(onnx_int("ceil_mode", 1));
  return attributes;
}

void max_pool(OnnxEmitter& e) {
  const Window window = window_at(e, e.node().integers("kernel_shape"));
  e.finish("MaxPool", {e.in()}, pool_attributes(e, window, true));
}

void average_pool(OnnxEmitter& e) {
  const Window window = window_at(e, e.node().integers("kernel_shape"));
  const bool dilated =
      std::any_of(window.dilations.begin(), window.dilations.end(), [](int64_t dilation) { return dilation != 1; });
  if (dilated && e.opset() < 19)
    throw UserError(e.node().name, "dilations of AveragePool", "1 in operator sets below 19",
                    fmt::format("{}", fmt::join(window.dilations, ", ")));
  Attributes attributes = pool_attributes(e, window, dilated);
  if (e.node().flag_or("count_include_pad", false)) attributes.push_back(onnx_int("count_include_pad", 1));
  e.finish("AveragePool", {e.in()}, std::move(attributes));
}

void global_pool(OnnxEmitter& e) { e.finish(e.node().op, {e.in()}); }

const RegisterOnnxEmit registered[] = {{"Conv", conv},
                                       {"ConvTranspose", conv},
                                       {"MaxPool", max_pool},
                                       {"AveragePool", average_pool},
                                       {"GlobalAveragePool", global_pool},
                                       {"GlobalMaxPool", global_pool}};

}  // namespace
}  // namespace espalier::emit_window
