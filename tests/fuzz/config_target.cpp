#include "tests/fuzz/config_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  espalier::fuzz::fuzz_config(data, size);
  return 0;
}
