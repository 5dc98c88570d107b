#include "tests/fuzz/serving_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  espalier::fuzz::fuzz_chat_template(data, size);
  return 0;
}
