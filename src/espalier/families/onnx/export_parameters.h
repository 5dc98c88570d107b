// Parameters of a graph as initialisers.
#pragma once

#include <cstdint>
#include <string>

#include "espalier/graph/graph.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

// The element type that a parameter is stored with: its own, or fp32 where the operator set has no casts from it.
DType stored_dtype(DType dtype, int64_t opset);

// `original` is the tensor of that name in the source, or null. A parameter that still holds its elements is that very
// tensor, with its storage and its texts.
OnnxTensor initializer_of(const Parameter& parameter, const std::string& name, const OnnxTensor* original,
                          bool transposed, int64_t opset);

}  // namespace espalier
