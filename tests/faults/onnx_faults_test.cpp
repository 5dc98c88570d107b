// `espalier convert -o OUT.onnx` with each of its calls on files failing in turn. OUT is a file; its run stands in OUT.run.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/faults/fault_run.h"

namespace espalier::test {
namespace {

namespace fs = std::filesystem;

class OnnxFaults : public FaultTest {
 protected:
  const fs::path file_ = watched_ / "out.onnx", run_ = watched_ / "out.onnx.run", older_ = dir_ / "older.onnx";
  std::string old_file_, new_file_;

  std::vector<std::string> command() const { return {"convert", model_.string(), "-o", file_.string(), "--force"}; }

  void start() {
    const ProgramEnd end = run({}, {"convert", (dir_ / "older model").string(), "-o", older_.string()});
    ASSERT_EQ(end.exit_code, 0) << end.err;
    old_file_ = read_file(older_, 64u << 20);
    place_old();
    const ProgramEnd made = run({}, command());
    ASSERT_EQ(made.exit_code, 0) << made.err;
    new_file_ = read_file(file_, 64u << 20);
    ASSERT_NE(new_file_, old_file_);
    std::ifstream log(dir_ / "log");
    for (std::string line; std::getline(log, line);) calls_.push_back(line.substr(line.find(' ') + 1));
    ASSERT_FALSE(calls_.empty());
  }

  void place_old() {
    for (const auto& path : {watched_, backup_}) {
      fs::remove_all(path);
      fs::create_directory(path);
    }
    fs::copy_file(older_, file_);
    fs::copy(older_.string() + ".run", run_, fs::copy_options::recursive);
  }

  Found found_file() const {
    if (!fs::exists(file_)) return Found::kNothing;
    const std::string bytes = read_file(file_, 64u << 20);
    return bytes == new_file_ ? Found::kNew : bytes == old_file_ ? Found::kOld : Found::kDamaged;
  }

  void expect_tidy() const {
    for (const auto& entry : fs::directory_iterator(watched_))
      EXPECT_TRUE(entry.path() == file_ || entry.path() == run_) << entry.path();
  }

  int last_call() const { return static_cast<int>(calls_.size()); }
};

TEST_F(OnnxFaults, OneCallFails) {
  start();
  int failed = 0;
  for (Fault fault{.kind = "eio", .at = 1}; fault.at <= last_call(); ++fault.at) {
    SCOPED_TRACE(testing::Message() << fault << ": " << calls_[static_cast<size_t>(fault.at - 1)]);
    place_old();
    const ProgramEnd end = run(fault, command());
    EXPECT_TRUE(end.exit_code == 0 || end.exit_code == 2) << end.err;
    EXPECT_TRUE(found_file() == Found::kNew || (end.exit_code == 2 && found_file() == Found::kOld)) << end.err;
    if (end.exit_code == 2) {
      EXPECT_EQ(std::count(end.err.begin(), end.err.end(), '\n'), 1) << end.err;
      EXPECT_NE(end.err.find(watched_.string()), std::string::npos) << end.err;
    }
    expect_tidy();
    EXPECT_EQ(files_in(model_), source_);
    failed += end.exit_code != 0;
  }
  EXPECT_GT(failed, last_call() / 2);
}

TEST_F(OnnxFaults, KilledOrWithoutPower) {
  start();
  for (const char* kind : {"kill", "power"}) {
    int done = 0;
    for (Fault fault{.kind = kind, .at = 1}; fault.at <= last_call(); ++fault.at) {
      SCOPED_TRACE(testing::Message() << fault << ": " << calls_[static_cast<size_t>(fault.at - 1)]);
      place_old();
      ASSERT_EQ(run(fault, command()).exit_code, -SIGKILL);
      EXPECT_TRUE(found_file() == Found::kOld || found_file() == Found::kNew);
      done += found_file() == Found::kNew;
      EXPECT_EQ(files_in(model_), source_);
      const ProgramEnd next = run({}, command());
      EXPECT_EQ(next.exit_code, 0) << next.err;
      EXPECT_EQ(found_file(), Found::kNew);
      expect_tidy();
    }
    // The last call makes the new name last, so that without power before it the old file is there again.
    EXPECT_EQ(calls_.back(), "fsync " + watched_.string());
    EXPECT_EQ(done, kind == std::string("kill") ? 1 : 0);
    EXPECT_LT(done, last_call());
  }
}

}  // namespace
}  // namespace espalier::test
