// Runs a target on good seeds and on damaged ones, in a test.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/fuzz/mutate.h"

namespace espalier::fuzz {

using Target = bool (*)(const uint8_t*, size_t);

inline bool run(Target target, const std::string& bytes) {
  return target(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

// All seeds are accepted, and of the damaged files some are and some are not: else the damage tests nothing.
inline void fuzz(Target target, const std::vector<std::string>& seeds, int rounds) {
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
