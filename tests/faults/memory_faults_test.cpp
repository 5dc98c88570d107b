// One allocation fails, or all from one on: one line, exit 2, nothing half-written.
#include <gtest/gtest.h>

#include "tests/faults/fault_run.h"

namespace espalier::test {
namespace {

// What opendir() asks for. Without it a directory can be neither listed nor removed.
constexpr const char* kOpendir = "allocate 32816";

class MemoryFaults : public FaultTest {
 protected:
  // Each allocation of at least alloc_min bytes fails in turn; returns how often the program failed.
  int failures(const std::vector<std::string>& command, uint64_t alloc_min) {
    make_reference(command, false, {.alloc_min = alloc_min});
    int failed = 0;
    for (int at = 1; at <= static_cast<int>(calls_.size()); ++at) {
      const std::string& call = calls_[static_cast<size_t>(at - 1)];
      if (call == kOpendir) continue;
      SCOPED_TRACE(testing::Message() << "allocation " << at << ": " << call);
      prepare(false);
      const ProgramEnd end = run({.at = at, .alloc_min = alloc_min}, command);
      expect_clean(end, Found::kNothing, "");
      failed += end.exit_code != 0;
    }
    return failed;
  }
};

TEST_F(MemoryFaults, OneAllocationOfConvert) {
  EXPECT_GE(failures({"convert", model_.string(), "-o", out_.string()}, 1024), 5);
}

// Large allocations no longer succeed at all: opendir() included, so the directory of the run may stay.
TEST_F(MemoryFaults, EveryAllocationOfConvertFromOneOn) {
  const std::vector<std::string> command = {"convert", model_.string(), "-o", out_.string()};
  make_reference(command, false, {.alloc_min = 2048});
  int failed = 0;
  for (int at = 1; at <= static_cast<int>(calls_.size()); ++at) {
    SCOPED_TRACE(at);
    prepare(false);
    const ProgramEnd end = run({.at = at, .stuck = true, .alloc_min = 2048}, command);
    EXPECT_TRUE(found() == Found::kNothing || found() == Found::kNew);
    if (end.exit_code == 0) continue;
    ++failed;
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_NE(end.err.find("espalier: error: "), std::string::npos) << end.err;
    EXPECT_NE(end.err.find("memory"), std::string::npos) << end.err;
    const ProgramEnd next = run({}, {"convert", model_.string(), "-o", out_.string(), "--force"});
    EXPECT_EQ(next.exit_code, 0) << next.err;
    EXPECT_TRUE(found() == Found::kNew && is_tidy());
  }
  EXPECT_GE(failed, 20);
}

// Not even the message can be put together.
TEST_F(MemoryFaults, NothingIsLeftAtAll) {
  const std::vector<std::string> command = {"inspect", model_.string()};
  constexpr int kMain = 400;  // allocations before main() are not ours
  for (int at = kMain; at < 3000; at += 101) {
    SCOPED_TRACE(at);
    ESP_EXPECT_MISTAKE(run({.at = at, .stuck = true, .alloc_min = 1}, command), "memory");
  }
}

TEST_F(MemoryFaults, InspectSaysIt) {
  const std::vector<std::string> command = {"inspect", model_.string()};
  int said = 0;
  for (int at = 1; at < 40; ++at) {
    const ProgramEnd ended = run({.at = at, .stuck = true, .alloc_min = 2048}, command);
    if (ended.exit_code == 0) continue;
    SCOPED_TRACE(at);
    ESP_EXPECT_MISTAKE(ended, "memory");
    ++said;
  }
  EXPECT_GT(said, 3);
}

// While libtorch is loaded, while it computes, while the result is written: one allocation, which the laboratory often
// survives by giving up what it kept of freed memory, and all from one on.
TEST_F(MemoryFaults, SomeAllocationsOfPrune) {
  const std::vector<std::string> command = {"prune", "espalier-tiny", "--method", "magnitude", "--sparsity", "0.5",
                                            "-q",    "--threads",     "1",        "-o",        out_.string()};
  constexpr uint64_t kLarge = 1 << 16;
  make_reference(command, false, {.alloc_min = kLarge});
  const int last = static_cast<int>(calls_.size());
  ASSERT_GT(last, 100);
  int failed = 0;
  for (const bool stuck : {false, true})
    for (int at = 2; at <= last; at += (last - 2) / 12) {
      SCOPED_TRACE(testing::Message() << (stuck ? "from " : "") << "allocation " << at << " of " << last);
      prepare(false);
      const ProgramEnd end = run({.at = at, .stuck = stuck, .alloc_min = kLarge}, command);
      expect_clean(end, Found::kNothing, "memory");
      failed += stuck && end.exit_code != 0;
    }
  EXPECT_GE(failed, 10) << "of thirteen";
}

// OpenBLAS calls exit() when its threads get no room for a product, after a line of its own.
TEST_F(MemoryFaults, ALibraryThatEndsPrune) {
  const std::vector<std::string> command = {"prune", "espalier-tiny", "--method", "magnitude", "--sparsity", "0.5",
                                            "-q",    "--threads",     "2",        "-o",        out_.string()};
  constexpr uint64_t kLarge = 400'000;
  make_reference(command, false, {.alloc_min = kLarge});
  const int last = static_cast<int>(calls_.size());
  int failed = 0;
  for (int at = 1; at <= last; at += 1 + last / 6) {
    SCOPED_TRACE(testing::Message() << "allocation " << at << " of " << last);
    prepare(false);
    const ProgramEnd end = run({.at = at, .alloc_min = kLarge}, command);
    EXPECT_TRUE(is_tidy()) << end.err;
    if (end.exit_code == 0) continue;
    ++failed;
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_EQ(found(), Found::kNothing);
    const size_t line = end.err.rfind("espalier: error: not enough memory");
    ASSERT_NE(line, std::string::npos) << end.err;
    EXPECT_EQ(end.err.find('\n', line), end.err.size() - 1) << end.err;
  }
  EXPECT_GE(failed, 1);
}

}  // namespace
}  // namespace espalier::test
