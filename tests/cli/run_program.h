// Runs the built program as a user does.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "tests/support.h"

extern char** environ;

namespace espalier::test {

inline constexpr const char* kModel = "espalier-tiny";  // comes with the program

struct ProgramEnd {
  int exit_code = -1;  // negative: the signal that killed it
  std::string out, err;
};

inline std::string program_path() { return ESPALIER_BINARY_DIR "/bin/espalier"; }

// Runs command[0] with the rest as its arguments; stdout goes to out_target when given ("/dev/full").
inline ProgramEnd run_command(std::vector<std::string> command, const std::string& out_target = "") {
  TempDir dir;
  const auto out = dir / "out", err = dir / "err";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out_target.empty() ? out.c_str() : out_target.c_str(),
                                   O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT, 0600);
  std::vector<char*> arguments;
  for (auto& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int failed = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed) throw std::runtime_error("cannot start " + command[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  constexpr uint64_t kMost = 64u << 20;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), out_target.empty() ? read_file(out, kMost) : "",
          read_file(err, kMost)};
}

// Starts the program and returns at once; the caller waits for the process.
inline pid_t start_espalier(std::vector<std::string> arguments, const std::filesystem::path& err = "/dev/null") {
  arguments.insert(arguments.begin(), program_path());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT, 0600);
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed) throw std::runtime_error("cannot start " + arguments[0]);
  return pid;
}

inline ProgramEnd espalier(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program_path());
  return run_command(std::move(arguments));
}

inline Json json_of(const ProgramEnd& end) {
  EXPECT_EQ(end.exit_code, 0) << end.err;
  return end.exit_code == 0 ? Json::parse(end.out) : Json();
}

}  // namespace espalier::test

// Exit 2, nothing on stdout, and one line "espalier: error: …" with every fragment in it.
#define ESP_EXPECT_MISTAKE(end_expression, fragment)                                       \
  {                                                                                        \
    const ::espalier::test::ProgramEnd mistake = end_expression;                           \
    EXPECT_EQ(mistake.exit_code, 2) << mistake.err;                                        \
    EXPECT_EQ(mistake.out, "");                                                            \
    EXPECT_EQ(mistake.err.rfind("espalier: error: ", 0), 0u) << mistake.err;               \
    EXPECT_EQ(std::count(mistake.err.begin(), mistake.err.end(), '\n'), 1) << mistake.err; \
    EXPECT_NE(mistake.err.find(fragment), std::string::npos) << mistake.err;               \
  }
