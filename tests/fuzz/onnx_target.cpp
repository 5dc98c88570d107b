#include "tests/fuzz/onnx_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  espalier::fuzz::fuzz_onnx(data, size);
  return 0;
}
