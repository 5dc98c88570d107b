// Reading and making the attributes of a node.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/onnx/model.h"

namespace espalier {

const OnnxAttribute* find_attribute(const OnnxNode& node, std::string_view name);  // nullptr: absent

// The value, or `otherwise` where the attribute is absent. UserError naming `where`, the node, the attribute and its
// type where it has another one, or refers to an attribute of a function.
int64_t attribute_int(const OnnxNode& node, std::string_view name, int64_t otherwise, const std::string& where);
float attribute_float(const OnnxNode& node, std::string_view name, float otherwise, const std::string& where);
std::string attribute_string(const OnnxNode& node, std::string_view name, std::string otherwise,
                             const std::string& where);
std::vector<int64_t> attribute_ints(const OnnxNode& node, std::string_view name, std::vector<int64_t> otherwise,
                                    const std::string& where);
std::vector<float> attribute_floats(const OnnxNode& node, std::string_view name, std::vector<float> otherwise,
                                    const std::string& where);
const OnnxTensor* tensor_attribute(const OnnxNode& node, std::string_view name,
                                   const std::string& where);  // or nullptr

OnnxAttribute onnx_int(std::string name, int64_t value);
OnnxAttribute onnx_float(std::string name, float value);
OnnxAttribute onnx_string(std::string name, std::string value);
OnnxAttribute onnx_ints(std::string name, std::vector<int64_t> values);
OnnxAttribute onnx_floats(std::string name, std::vector<float> values);
OnnxAttribute onnx_tensor_attribute(std::string name, OnnxTensor value);
OnnxAttribute onnx_graph_attribute(std::string name, OnnxGraph value);

std::string_view name_of(OnnxAttribute::Type type);  // the specification's word: "INTS"

}  // namespace espalier
