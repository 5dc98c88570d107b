// The parts of the parser that parse.cpp puts together; see model.h for the messages.
#pragma once

#include <string_view>

#include "espalier/io/onnx/message_reader.h"

namespace espalier {

OnnxEntry parse_onnx_entry(OnnxParse& parse, std::string_view message);
OnnxTensor parse_onnx_tensor(OnnxParse& parse, std::string_view message);
OnnxSparseTensor parse_onnx_sparse(OnnxParse& parse, std::string_view message);
OnnxValueInfo parse_onnx_value_info(OnnxParse& parse, std::string_view message);
OnnxAttribute parse_onnx_attribute(OnnxParse& parse, std::string_view message);
OnnxNode parse_onnx_node(OnnxParse& parse, std::string_view message);
OnnxGraph parse_onnx_graph(OnnxParse& parse, std::string_view message);

}  // namespace espalier
