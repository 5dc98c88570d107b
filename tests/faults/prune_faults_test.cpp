// `espalier prune` with some of its calls on files failing: its checkpoints are part of what must hold.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/faults/fault_run.h"

namespace espalier::test {
namespace {

class PruneFaults : public FaultTest {
 protected:
  std::vector<std::string> command(const std::string& more = "") const {
    std::vector<std::string> arguments = {"prune", model_.string(), "--method", "magnitude", "--sparsity", "0.5",
                                          "-q",    "--threads",     "1",        "-o",        out_.string()};
    if (!more.empty()) arguments.push_back(more);
    return arguments;
  }

  // `count` numbers from 1 to the last call.
  std::vector<int> spread(int count, int offset) const {
    std::vector<int> numbers;
    const int last = static_cast<int>(calls_.size());
    for (int i = 0; i < count; ++i) numbers.push_back(1 + offset + i * (last - 1 - offset) / (count - 1));
    return numbers;
  }
};

TEST_F(PruneFaults, FailsCleanly) {
  make_reference(command(), false);
  int i = 0;
  for (int at : spread(8, 0)) {
    const Fault fault{.kind = ++i % 2 ? "eio" : "full", .at = at, .stuck = i % 2 == 0};
    SCOPED_TRACE(testing::Message() << fault << ": " << calls_[static_cast<size_t>(at - 1)]);
    prepare(false);
    expect_clean(run(fault, command()), Found::kNothing, watched_.string());
  }
}

TEST_F(PruneFaults, ResumesToTheSameBytesAfterEveryDeath) {
  make_reference(command(), false);
  int i = 0;
  for (int at : spread(8, 5)) {
    const Fault fault{.kind = ++i % 2 ? "kill" : "power", .at = at};
    SCOPED_TRACE(testing::Message() << fault << ": " << calls_[static_cast<size_t>(at - 1)]);
    prepare(false);
    ASSERT_EQ(run(fault, command()).exit_code, -SIGKILL);
    EXPECT_TRUE(found() == Found::kNothing || found() == Found::kNew);
    const ProgramEnd end = run({}, command("--resume"));
    EXPECT_EQ(end.exit_code, 0) << end.err;
    EXPECT_EQ(found(), Found::kNew);
    EXPECT_TRUE(is_tidy());
    EXPECT_EQ(files_in(model_), source_);
  }
}

}  // namespace
}  // namespace espalier::test
