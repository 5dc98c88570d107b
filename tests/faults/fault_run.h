// The program under the shim that makes a chosen call fail, and what must hold of its output then.
#pragma once

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "espalier/core/manifest.h"
#include "tests/cli/run_program.h"
#include "tests/families/tiny_models.h"

namespace espalier::test {

struct Fault {
  std::string kind = "none";
  int at = 0;
  bool stuck = false;        // from then on
  bool no_exchange = false;  // a file system without RENAME_EXCHANGE
  uint64_t alloc_min = 0;    // allocations of at least so many bytes count instead of calls on files
};

inline std::ostream& operator<<(std::ostream& out, const Fault& fault) {
  return out << fault.kind << (fault.stuck ? " from " : " at ") << fault.at;
}

using Files = std::map<std::string, std::string>;  // contents by relative path

inline Files files_in(const std::filesystem::path& directory) {
  Files files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    if (!entry.is_directory())
      files[entry.path().lexically_relative(directory).string()] = read_file(entry.path(), 64u << 20);
  return files;
}

enum class Found { kNothing, kOld, kNew, kDamaged };

class FaultTest : public ::testing::Test {
 protected:
  FaultTest() : memory_(use_memory()) {
    for (const auto& path : {watched_, backup_}) std::filesystem::create_directory(path);
    TinyOptions options;
    options.layers = 1;
    write_tiny_llama(model_, options);
    source_ = files_in(model_);
    options.hidden = 16;
    options.heads = options.kv_heads = 2;
    write_tiny_llama(dir_ / "older model", options);
  }

  // The older output that a run replaces, made once.
  void make_old() {
    const ProgramEnd end = run({}, {"convert", (dir_ / "older model").string(), "-o", (dir_ / "older").string()});
    ASSERT_EQ(end.exit_code, 0) << end.err;
    old_ = files_in(dir_ / "older");
  }

  // Without a fault: the files that the command makes, and the calls that the shim counts.
  void make_reference(const std::vector<std::string>& arguments, bool replacing, const Fault& fault = {}) {
    prepare(replacing);
    const ProgramEnd end = run(fault, arguments);
    ASSERT_EQ(end.exit_code, 0) << end.err;
    verify_manifest(out_);
    new_ = files_in(out_);
    ASSERT_NE(new_, old_);
    calls_.clear();
    std::ifstream log(dir_ / "log");
    for (std::string line; std::getline(log, line);) calls_.push_back(line.substr(line.find(' ') + 1));
    ASSERT_FALSE(calls_.empty());
  }

  void prepare(bool replacing) {
    for (const auto& path : {watched_, backup_}) {
      std::filesystem::remove_all(path);
      std::filesystem::create_directory(path);
    }
    if (replacing) std::filesystem::copy(dir_ / "older", out_, std::filesystem::copy_options::recursive);
  }

  ProgramEnd run(const Fault& fault, const std::vector<std::string>& arguments) {
    std::filesystem::remove(dir_ / "log");
    std::vector<std::string> command = {"env",
                                        std::string("LD_PRELOAD=") + ESPALIER_BINARY_DIR + "/lib/libfault_shim.so",
                                        "ESPALIER_FAULT_DIR=" + watched_.string(),
                                        "ESPALIER_FAULT_BACKUP=" + backup_.string(),
                                        "ESPALIER_FAULT_LOG=" + (dir_ / "log").string(),
                                        "ESPALIER_FAULT_KIND=" + fault.kind,
                                        fmt::format("ESPALIER_FAULT_AT={}", fault.at)};
    if (fault.stuck) command.push_back("ESPALIER_FAULT_STUCK=1");
    if (fault.no_exchange) command.push_back("ESPALIER_FAULT_NO_EXCHANGE=1");
    if (fault.alloc_min > 0) command.push_back(fmt::format("ESPALIER_FAULT_ALLOC_MIN={}", fault.alloc_min));
    command.push_back(program_path());
    command.insert(command.end(), arguments.begin(), arguments.end());
    return run_command(command);
  }

  Found found() const {
    if (!std::filesystem::exists(out_)) return Found::kNothing;
    const Files files = files_in(out_);
    return files == new_ ? Found::kNew : files == old_ ? Found::kOld : Found::kDamaged;
  }

  // Nothing but OUT.
  bool is_tidy() const {
    for (const auto& entry : std::filesystem::directory_iterator(watched_))
      if (entry.path() != out_) return false;
    return true;
  }

  // One line that names a place, the state before it or the new one, no litter, the source as it was.
  void expect_clean(const ProgramEnd& end, Found before, const std::string& names) {
    if (end.exit_code == 0) {
      EXPECT_EQ(found(), Found::kNew) << end.err;
    } else {
      EXPECT_EQ(end.exit_code, 2) << end.err;
      EXPECT_EQ(end.err.rfind("espalier: error: ", 0), 0u) << end.err;
      EXPECT_EQ(std::count(end.err.begin(), end.err.end(), '\n'), 1) << end.err;
      EXPECT_NE(end.err.find(names), std::string::npos) << end.err;
      EXPECT_EQ(end.out, "");
      EXPECT_TRUE(found() == before || found() == Found::kNew) << end.err;
    }
    EXPECT_TRUE(is_tidy()) << end.err;
    EXPECT_EQ(files_in(model_), source_);
  }

  // Syncing means little in a file system in memory, and the shim itself does what a power loss would.
  static bool use_memory() {
    if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 1);
    return true;
  }

  const bool memory_;  // before dir_
  TempDir dir_;
  const std::filesystem::path watched_ = dir_ / "watched", backup_ = dir_ / "backup", model_ = dir_ / "model",
                              out_ = watched_ / "out";
  Files source_, old_, new_;
  std::vector<std::string> calls_;
};

}  // namespace espalier::test
