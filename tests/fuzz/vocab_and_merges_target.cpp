#include "tests/fuzz/files_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  espalier::fuzz::fuzz_vocab_and_merges(data, size);
  return 0;
}
