// `espalier convert` with each of its calls on files failing in turn.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/faults/fault_run.h"

namespace espalier::test {
namespace {

class ConvertFaults : public FaultTest {
 protected:
  std::vector<std::string> command(bool force) const {
    std::vector<std::string> arguments = {"convert", model_.string(), "-o", out_.string()};
    if (force) arguments.push_back("--force");
    return arguments;
  }

  void start(bool replacing, bool no_exchange = false) {
    if (old_.empty()) make_old();
    make_reference(command(replacing), replacing, {.no_exchange = no_exchange});
  }

  int last_call() const { return static_cast<int>(calls_.size()); }

  // Every call fails in turn; returns how often the program failed.
  int failures(Fault fault, bool replacing) {
    int failed = 0;
    for (fault.at = 1; fault.at <= last_call(); ++fault.at) {
      SCOPED_TRACE(testing::Message() << fault << ": " << call(fault.at));
      prepare(replacing);
      const ProgramEnd end = run(fault, command(replacing));
      expect_clean(end, replacing ? Found::kOld : Found::kNothing, watched_.string());
      failed += end.exit_code != 0;
      // The new result stands there after an error only if nothing but its last sync failed.
      if (end.exit_code != 0 && found() == Found::kNew) {
        EXPECT_EQ(call(fault.at), "fsync " + watched_.string());
      }
    }
    return failed;
  }

  std::string call(int at) const { return calls_[static_cast<size_t>(at - 1)]; }

  // Dead before every call in turn: the old or the new state, and the next run goes through.
  void dies(Fault fault, bool replacing) {
    int done = 0;
    for (fault.at = 1; fault.at <= last_call(); ++fault.at) {
      SCOPED_TRACE(testing::Message() << fault << ": " << call(fault.at));
      prepare(replacing);
      const ProgramEnd end = run(fault, command(replacing));
      ASSERT_EQ(end.exit_code, -SIGKILL) << end.err;
      const bool between = found() == Found::kNothing && fault.no_exchange && replacing;
      if (between) {  // the two renames: the old result waits for the next run
        ESP_EXPECT_MISTAKE(run({}, command(false)), "already there");
      }
      const Found state = found();
      EXPECT_TRUE(state == (replacing ? Found::kOld : Found::kNothing) || state == Found::kNew);
      done += state == Found::kNew;
      EXPECT_EQ(files_in(model_), source_);
      const ProgramEnd next = run({}, command(std::filesystem::exists(out_)));
      EXPECT_EQ(next.exit_code, 0) << next.err;
      EXPECT_EQ(found(), Found::kNew);
      EXPECT_TRUE(is_tidy());
    }
    EXPECT_GE(done, 1);
    EXPECT_LT(done, last_call());
  }
};

TEST_F(ConvertFaults, TheShimCountsWhatAWriterDoes) {
  start(false);
  for (const std::string word : {"mkdir", "open", "pwrite", "fsync", "close", "rename", "ftruncate"})
    EXPECT_TRUE(std::any_of(calls_.begin(), calls_.end(), [&](const auto& call) { return call.starts_with(word); }))
        << word;
}

TEST_F(ConvertFaults, TheResultOpens) {
  start(false);
  EXPECT_EQ(run({}, {"inspect", out_.string()}).exit_code, 0);
}

TEST_F(ConvertFaults, OneCallFails) {
  for (bool replacing : {false, true}) {
    start(replacing);
    // The last close() of the lock does not matter, and an exchange of names that fails is done in two steps.
    EXPECT_GE(failures({.kind = "eio"}, replacing), last_call() - 2);
  }
}

TEST_F(ConvertFaults, EveryCallFailsFromOneOn) {
  for (bool replacing : {false, true}) {
    start(replacing);
    EXPECT_GE(failures({.kind = "eio", .stuck = true}, replacing), last_call() - 1);
  }
}

TEST_F(ConvertFaults, TheDiskFillsUp) {
  for (bool replacing : {false, true}) {
    start(replacing);
    EXPECT_GE(failures({.kind = "full", .stuck = true}, replacing), last_call() - 1);
  }
}

TEST_F(ConvertFaults, ShortWritesAreGoneOnWith) {
  start(false);
  EXPECT_EQ(failures({.kind = "short"}, false), 0);
  EXPECT_EQ(failures({.kind = "short", .stuck = true}, false), 0);
}

TEST_F(ConvertFaults, Killed) {
  for (bool replacing : {false, true}) {
    start(replacing);
    dies({.kind = "kill"}, replacing);
  }
}

TEST_F(ConvertFaults, PowerIsLost) {
  for (bool replacing : {false, true}) {
    start(replacing);
    dies({.kind = "power"}, replacing);
  }
}

TEST_F(ConvertFaults, WhereTwoNamesCannotBeExchanged) {
  start(true, true);
  EXPECT_GE(failures({.kind = "eio", .no_exchange = true}, true), last_call() - 1);
  dies({.kind = "kill", .no_exchange = true}, true);
  dies({.kind = "power", .no_exchange = true}, true);
}

// The disk fails for good between the two renames: the old result cannot be put back, but is not removed either.
TEST_F(ConvertFaults, AnOldResultThatCannotBePutBackIsKept) {
  start(true, true);
  const auto second = std::find(calls_.begin(), calls_.end(), "rename " + out_.string());
  ASSERT_NE(second, calls_.end());
  prepare(true);
  const Fault fault{.kind = "eio", .at = static_cast<int>(second - calls_.begin()) + 1, .stuck = true, .no_exchange = true};
  const ProgramEnd end = run(fault, command(true));
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_NE(end.err.find("cannot put the previous result back from " + out_.string() + ".partial/replaced"),
            std::string::npos)
      << end.err;
  EXPECT_EQ(found(), Found::kNothing);
  EXPECT_EQ(files_in(out_.string() + ".partial/replaced"), old_);
  ESP_EXPECT_MISTAKE(run({}, command(false)), "already there");
  EXPECT_EQ(found(), Found::kOld);
}

}  // namespace
}  // namespace espalier::test
