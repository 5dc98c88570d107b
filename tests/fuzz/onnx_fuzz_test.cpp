// The ONNX reader under damaged files: it reads or refuses, never crashes, and what it reads it can write.
#include "tests/fuzz/onnx_fuzz.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "espalier/core/file.h"
#include "tests/fuzz/runner.h"

namespace espalier::fuzz {
namespace {

TEST(OnnxFuzz, DamagedFiles) {
  std::vector<std::string> seeds;
  for (const char* name : {"types.onnx", "sparse.onnx", "control.onnx", "functions.onnx", "proto3.onnx"})
    seeds.push_back(read_file(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/onnx" / name, 1u << 20));
  fuzz(fuzz_onnx, seeds, 200'000);
}

TEST(OnnxFuzz, RandomBytes) {
  Rng rng(3, "fuzz");
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(rng.below(48), '\0');
    for (char& c : bytes) c = static_cast<char>(rng.below(256));
    EXPECT_NO_THROW(run(fuzz_onnx, bytes));
  }
}

}  // namespace
}  // namespace espalier::fuzz
