// Convolutions, pooling and what their windows share.
#include <algorithm>

#include "espalier/families/onnx/import_ops.h"

namespace espalier {
namespace {

bool has_negative(const std::vector<int64_t>& values) {
  return std::any_of(values.begin(), values.end(), [](int64_t value) { return value < 0; });
}

// The attribute, or `otherwise` for each spatial dim.
std::vector<int64_t> per_dim(NodeImport& n, const char* name, size_t count, int64_t otherwise) {
  auto values = n.integers(name);
  if (values.empty()) values.assign(count, otherwise);
  if (values.size() != count) n.refuse(name, fmt::format("{} numbers", count), std::to_string(values.size()));
  for (int64_t value : values)
    if (value < otherwise || value > (int64_t{1} << 31))
      n.refuse(name, fmt::format("numbers of {} to 2^31", otherwise), std::to_string(value));
  return values;
}

// ONNX's auto_pad: as many windows as strides fit into the input; what is odd goes to the end (UPPER) or the begin.
std::vector<int64_t> same_pads(NodeImport& n, const std::vector<int64_t>& kernel, const std::vector<int64_t>& strides,
                               const std::vector<int64_t>& dilations, bool upper) {
  const size_t spatial = kernel.size();
  std::vector<int64_t> pads(2 * spatial);
  for (size_t i = 0; i < spatial; ++i) {
    const int64_t size = n.shape(0)[i + 2], extent = dilations[i] * (kernel[i] - 1) + 1;
    const int64_t count = (size + strides[i] - 1) / strides[i];
    const int64_t total = std::max<int64_t>(0, (count - 1) * strides[i] + extent - size);
    pads[i] = upper ? total / 2 : total - total / 2;
    pads[i + spatial] = total - pads[i];
  }
  return pads;
}

void check_spatial(NodeImport& n) {
  if (n.rank(0) < 3) n.refuse("input", "[n, c, ...]", to_string(n.shape(0)));
  if (n.rank(0) > 4) NodeImport::not_understood("it has more than two spatial dims");
}

std::vector<int64_t> kernel_of(NodeImport& n, const Shape& weight) {
  if (weight.size() != n.rank(0)) n.refuse("weight", fmt::format("{} dims", n.rank(0)), to_string(weight));
  const std::vector<int64_t> kernel(weight.begin() + 2, weight.end());
  const auto stated = n.integers("kernel_shape");
  if (!stated.empty() && stated != kernel)
    n.refuse("kernel_shape", to_string(kernel) + " as the weight has", to_string(stated));
  return kernel;
}

void conv(NodeImport& n) {
  check_spatial(n);
  const StoredPtr weight = n.stored(1);
  if (!weight) NodeImport::not_understood("its weight is not a tensor of the file");
  Node node{"Conv", "", {n.value(0)}, {}, {}, window_attributes(n, kernel_of(n, weight->shape), false)};
  node.attributes["group"] = n.integer("group", 1);
  node.params["weight"] = n.parameter(weight);
  if (n.has(2)) node.params["bias"] = n.parameter(2, "bias");
  n.give(std::move(node));
}

// Pads from the output's size that the file wishes (ONNX, ConvTranspose: output_shape).
void pads_for_output(NodeImport& n, const std::vector<int64_t>& kernel, std::map<std::string, Attribute>& attributes) {
  const size_t spatial = kernel.size();
  auto wanted = n.integers("output_shape");
  if (wanted.size() == spatial + 2) wanted.erase(wanted.begin(), wanted.begin() + 2);
  if (wanted.size() != spatial) n.refuse("output_shape", fmt::format("{} numbers", spatial), to_string(wanted));
  const auto strides = per_dim(n, "strides", spatial, 1), dilations = per_dim(n, "dilations", spatial, 1);
  const auto extra = per_dim(n, "output_padding", spatial, 0);
  const bool upper = n.text("auto_pad", "NOTSET") == "SAME_UPPER";
  std::vector<int64_t> pads(2 * spatial);
  for (size_t i = 0; i < spatial; ++i) {
    const int64_t total =
        strides[i] * (n.shape(0)[i + 2] - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 - wanted[i];
    pads[i] = upper ? total / 2 : total - total / 2;
    pads[i + spatial] = total - pads[i];
  }
  if (has_negative(pads)) NodeImport::not_understood("its output is larger than its windows reach");
  attributes["pads"] = pads;
}

void conv_transpose(NodeImport& n) {
  check_spatial(n);
  const StoredPtr weight = n.stored(1);
  if (!weight) NodeImport::not_understood("its weight is not a tensor of the file");
  const auto kernel = kernel_of(n, weight->shape);
  Node node{"ConvTranspose", "", {n.value(0)}, {}, {}, window_attributes(n, kernel, true)};
  node.attributes["group"] = n.integer("group", 1);
  node.attributes["output_padding"] = per_dim(n, "output_padding", kernel.size(), 0);
  if (n.has_attribute("output_shape")) pads_for_output(n, kernel, node.attributes);
  node.params["weight"] = n.parameter(weight);
  if (n.has(2)) node.params["bias"] = n.parameter(2, "bias");
  n.give(std::move(node));
}

void pool(NodeImport& n) {
  check_spatial(n);
  const auto kernel = per_dim(n, "kernel_shape", n.rank(0) - 2, 1);
  const bool average = n.op_type() == "AveragePool";
  Node node{average ? "AveragePool" : "MaxPool", "", {n.value(0)}, {}, {}, window_attributes(n, kernel, false)};
  const auto& pads = std::get<std::vector<int64_t>>(node.attributes.at("pads"));
  const auto& dilations = std::get<std::vector<int64_t>>(node.attributes.at("dilations"));
  for (size_t i = 0; i < pads.size(); ++i)
    if (pads[i] > dilations[i % kernel.size()] * (kernel[i % kernel.size()] - 1))
      NodeImport::not_understood("its padding is as wide as its windows");
  node.attributes["kernel_shape"] = kernel;
  node.attributes["ceil_mode"] = n.integer("ceil_mode", 0) != 0;
  if (average) node.attributes["count_include_pad"] = n.integer("count_include_pad", 0) != 0;
  if (n.integer("storage_order", 0) != 0 && n.is_read(1)) NodeImport::not_understood("its indices are read");
  n.give(std::move(node));
}

void global_pool(NodeImport& n) { n.give(n.op_type(), {n.value(0)}); }

const RegisterOnnxImport registered[] = {
    {"Conv", conv},        {"ConvTranspose", conv_transpose},  {"MaxPool", pool},
    {"AveragePool", pool}, {"GlobalAveragePool", global_pool}, {"GlobalMaxPool", global_pool},
};

}  // namespace

std::map<std::string, Attribute> window_attributes(NodeImport& n, const std::vector<int64_t>& kernel, bool transposed) {
  const size_t spatial = kernel.size();
  const auto strides = per_dim(n, "strides", spatial, 1), dilations = per_dim(n, "dilations", spatial, 1);
  for (size_t i = 0; i < spatial; ++i)
    if (kernel[i] < 1 || kernel[i] > (int64_t{1} << 24) || dilations[i] > (int64_t{1} << 24))
      n.refuse("kernel", "numbers of 1 to 2^24", to_string(kernel));
  auto pads = n.integers("pads");
  if (pads.empty()) pads.assign(2 * spatial, 0);
  const std::string automatic = n.text("auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    if (transposed && !n.has_attribute("output_shape"))
      NodeImport::not_understood("auto_pad of a transposed convolution without output_shape");
    if (!transposed) pads = same_pads(n, kernel, strides, dilations, automatic == "SAME_UPPER");
  } else if (automatic == "VALID") {
    pads.assign(2 * spatial, 0);
  } else if (automatic != "NOTSET") {
    n.refuse("auto_pad", "NOTSET, SAME_UPPER, SAME_LOWER or VALID", printable(automatic));
  }
  if (pads.size() != 2 * spatial) n.refuse("pads", fmt::format("{} numbers", 2 * spatial), std::to_string(pads.size()));
  if (has_negative(pads)) NodeImport::not_understood("its pads are negative");
  return {{"strides", strides}, {"dilations", dilations}, {"pads", pads}};
}

}  // namespace espalier
