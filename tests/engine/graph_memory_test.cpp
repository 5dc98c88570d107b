#include "espalier/engine/graph_memory.h"

#include <gtest/gtest.h>

#include "espalier/core/rng.h"

namespace espalier {
namespace {

// Steps that each read some earlier storages and write a new one, or write over one that they read.
Program random_program(Rng& rng) {
  Program program;
  program.storages.push_back({.bytes = 1000});
  for (int s = 0; s < 40; ++s) {
    GraphStep step;
    const auto known = program.storages.size();
    for (int i = 0; i < 2; ++i)
      step.in.push_back({static_cast<int>(known - 1 - rng.below(std::min<uint64_t>(known, 5))), 0});
    if (rng.below(4) == 0) {
      step.out.push_back(step.in[0]);
    } else {
      program.storages.push_back({.bytes = 1 + rng.below(5000)});
      step.out.push_back({static_cast<int>(known), 0});
    }
    step.scratch_bytes = rng.below(3000);
    program.steps.push_back(std::move(step));
  }
  return program;
}

TEST(MemoryPlan, NothingThatHoldsIsOverwritten) {
  uint64_t planned = 0, apart = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed, "programs");
    Program program = random_program(rng);
    View input{DType::kF32, {}, {}, 0, 0},
        output{DType::kF32, {}, {}, static_cast<int>(program.storages.size()) - 1, 0};
    const MemoryPlan plan = plan_memory(program, {input}, {output});
    for (const Storage& a : program.storages) {
      apart += a.bytes;
      if (a.last_step == -2) continue;
      EXPECT_EQ(a.offset % 64, 0);
      EXPECT_LE(a.offset + a.bytes, plan.scratch_offset);
      for (const Storage& b : program.storages) {
        const bool together = b.last_step != -2 && a.first_step <= b.last_step && b.first_step <= a.last_step;
        const bool share = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
        EXPECT_FALSE(&a != &b && together && share);
      }
    }
    for (const GraphStep& step : program.steps) EXPECT_LE(plan.scratch_offset + step.scratch_bytes, plan.bytes);
    EXPECT_EQ(program.storages[0].first_step, -1);
    EXPECT_EQ(program.storages.back().last_step, static_cast<int>(program.steps.size()));
    planned += plan.scratch_offset;
  }
  EXPECT_LT(planned, apart / 2);
}

TEST(MemoryPlan, FoldedConstantsLoseTheirBytes) {
  Program program;
  const auto bytes = std::make_shared<int>(1);
  for (int i = 0; i < 2; ++i)
    program.storages.push_back(
        {.bytes = 4, .owner = bytes, .constant = reinterpret_cast<const std::byte*>(bytes.get())});
  program.storages.push_back({.bytes = 4});
  GraphStep step;
  step.in = {{0, 0}};
  step.out = {{2, 0}};
  program.steps.push_back(std::move(step));
  const MemoryPlan plan = plan_memory(program, {}, {});
  EXPECT_TRUE(program.storages[0].owner);
  EXPECT_FALSE(program.storages[1].owner);
  EXPECT_EQ(plan.bytes, 64u);
}

}  // namespace
}  // namespace espalier
