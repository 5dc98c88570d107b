// `espalier train` with some of its calls on files failing: what it has learned so far must not be lost.
#include <gtest/gtest.h>
#include <signal.h>

#include "espalier/core/json.h"
#include "tests/faults/fault_run.h"

namespace espalier::test {
namespace {

class TrainFaults : public FaultTest {
 protected:
  TrainFaults() { ::setenv("ESPALIER_RUNS", (dir_ / "runs.db").c_str(), 1); }
  ~TrainFaults() override { ::unsetenv("ESPALIER_RUNS"); }

  std::vector<std::string> command(const std::string& more = "") const {
    std::vector<std::string> arguments = {"train",       "espalier-fashion-cnn",
                                          "--fresh",     "--training",
                                          "steps=4",     "--training",
                                          "batch=4",     "--training",
                                          "limit=16",    "--training",
                                          "eval-limit=8", "--training",
                                          "checkpoint-every=1", "-q",
                                          "--threads",   "1",
                                          "-o",          out_.string()};
    if (!more.empty()) arguments.push_back(more);
    return arguments;
  }

  std::filesystem::path state() const { return out_.string() + ".partial/state/training.json"; }

  // The checkpoint that the state names is whole.
  void expect_a_checkpoint() const {
    const Json kept = read_json(state());
    const auto file = out_.string() + ".partial/" + kept.at("file").get<std::string>();
    EXPECT_GT(std::filesystem::file_size(file), 100'000u) << file;
  }
};

TEST_F(TrainFaults, TheLastCheckpointSurvivesAFullDisk) {
  make_reference(command(), false);
  const int last = static_cast<int>(calls_.size());
  int with_checkpoint = 0;
  for (int i = 0; i < 6; ++i) {
    const Fault fault{.kind = i % 2 ? "eio" : "full", .at = 1 + i * (last - 1) / 6, .stuck = true};
    SCOPED_TRACE(testing::Message() << fault << ": " << calls_[static_cast<size_t>(fault.at - 1)]);
    prepare(false);
    const ProgramEnd end = run(fault, command());
    EXPECT_EQ(end.exit_code, 2) << end.err;
    EXPECT_NE(found(), Found::kDamaged);
    if (!std::filesystem::exists(state())) continue;
    ++with_checkpoint;
    expect_a_checkpoint();
    const ProgramEnd resumed = run({}, command("--resume"));
    EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(found(), Found::kNew);
  }
  EXPECT_GE(with_checkpoint, 2);
}

TEST_F(TrainFaults, ResumesToTheSameBytesAfterEveryDeath) {
  make_reference(command(), false);
  const int last = static_cast<int>(calls_.size());
  for (int i = 0; i < 8; ++i) {
    const Fault fault{.kind = i % 2 ? "kill" : "power", .at = 6 + i * (last - 7) / 8};
    SCOPED_TRACE(testing::Message() << fault << ": " << calls_[static_cast<size_t>(fault.at - 1)]);
    prepare(false);
    ASSERT_EQ(run(fault, command()).exit_code, -SIGKILL);
    EXPECT_TRUE(found() == Found::kNothing || found() == Found::kNew);
    const ProgramEnd end = run({}, command("--resume"));
    EXPECT_EQ(end.exit_code, 0) << end.err;
    EXPECT_EQ(found(), Found::kNew);
    EXPECT_TRUE(is_tidy());
  }
}

}  // namespace
}  // namespace espalier::test
