#include "tests/fuzz/onnx_import_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  espalier::fuzz::fuzz_onnx_import(data, size);
  return 0;
}
