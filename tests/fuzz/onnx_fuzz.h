// The ONNX reader and writer under any bytes, see targets.h.
#pragma once

#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/serialise.h"
#include "espalier/io/onnx/tensor.h"
#include "espalier/io/onnx/validate.h"
#include "tests/fuzz/targets.h"

namespace espalier::fuzz {

inline OnnxModel parse_and_validate(std::string_view bytes) {
  OnnxModel model = parse_onnx(std::as_bytes(std::span(bytes)), "fuzz");
  validate_onnx(model, "fuzz");
  return model;
}

// What is accepted can be written, and what is written is read as the same. Tensors that cannot be decoded are refused.
inline bool fuzz_onnx(const uint8_t* data, size_t size) {
  return accepts([&] {
    const OnnxModel model = parse_and_validate({reinterpret_cast<const char*>(data), size});
    for_each_tensor(model, [&](const OnnxTensor& tensor) {
      accepts([&] {
        const Tensor copy = to_tensor(tensor, "fuzz");
        ESP_ASSERT(copy.byte_size() <= size * 8, "a tensor much larger than its file");
        copy.to_floats();
      });
    });
    const std::string written = to_string(serialise_onnx(model));
    const OnnxModel again = parse_and_validate(written);
    ESP_ASSERT(to_string(serialise_onnx(again)) == written, "not the same when written again");
  });
}

}  // namespace espalier::fuzz
