#include "tests/fuzz/images_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  espalier::fuzz::fuzz_gunzip(data, size);
  return 0;
}
