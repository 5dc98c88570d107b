// An ONNX model as the bytes of its protobuf file.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "espalier/io/onnx/byte_rope.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

struct OnnxPlace {
  std::string location;  // relative to the model
  uint64_t offset = 0, bytes = 0;
};
using OnnxPlaces = std::unordered_map<const OnnxTensor*, OnnxPlace>;

// Tensors in `places` become external data there; all others are written within, even those that were external. The
// rope points into the model. UserError: external data that has not been opened.
ByteRope serialise_onnx(const OnnxModel& model, const OnnxPlaces& places = {});

std::string to_string(const ByteRope& rope);

}  // namespace espalier
