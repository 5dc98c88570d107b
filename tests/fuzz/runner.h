// Runs a target on good seeds and on damaged ones, in a test.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/fuzz/mutate.h"

namespace espalier::fuzz {

using Target = bool (*)(const uint8_t*, size_t);

inline bool run(Target target, const std::string& bytes) {
  return target(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

// With ESPALIER_FUZZ_SEEDS=DIR the seeds go to DIR/<suite>.<test>/ as well: a first corpus for the libFuzzer program.
inline void keep_seeds(const std::vector<std::string>& seeds) {
  const char* kept = std::getenv("ESPALIER_FUZZ_SEEDS");
  if (!kept) return;
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const auto directory = std::filesystem::path(kept) / (std::string(test->test_suite_name()) + "." + test->name());
  std::filesystem::create_directories(directory);
  for (size_t i = 0; i < seeds.size(); ++i) std::ofstream(directory / std::to_string(i), std::ios::binary) << seeds[i];
}

// All seeds are accepted, and of the damaged files some are and some are not: else the damage tests nothing.
inline void fuzz(Target target, const std::vector<std::string>& seeds, int rounds) {
  keep_seeds(seeds);
  for (size_t i = 0; i < seeds.size(); ++i) EXPECT_TRUE(run(target, seeds[i])) << "seed " << i;
  Rng rng(1, "fuzz");
  int accepted = 0;
  for (int i = 0; i < rounds; ++i) {
    const std::string bytes = damaged(seeds, rng);
    const auto start = std::chrono::steady_clock::now();
    ASSERT_NO_THROW(accepted += run(target, bytes)) << "round " << i;
    ASSERT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5)) << "round " << i;
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, rounds * 9 / 10);
}

}  // namespace espalier::fuzz
