#include "espalier/core/signals.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "espalier/core/file.h"
#include "tests/support.h"

namespace espalier {
namespace {

struct ChildEnd {
  int exit_code;
  std::string error_text;
};

// Runs body in a child whose stderr is read here; its return value is the exit code.
ChildEnd in_child(const std::function<int()>& body) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    install_signal_handlers();
    ::_exit(body());
  }
  ::close(ends[1]);
  std::string text;
  char buffer[512];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(got));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), text};
}

int stop_and_report(int signal) {
  set_resume_hint("add --resume");
  check_interrupted();
  ::raise(signal);
  try {
    check_interrupted();
  } catch (const Interrupted& stop) {
    return std::string(stop.what()) == "interrupted: add --resume" ? 42 : 43;
  }
  return 44;
}

TEST(Signals, FirstOneAsksTheRunToStop) {
  for (int signal : {SIGINT, SIGTERM}) {
    const auto end = in_child([&] { return stop_and_report(signal); });
    EXPECT_EQ(end.exit_code, 42);
    EXPECT_NE(end.error_text.find("next safe point"), std::string::npos);
  }
}

TEST(Signals, SecondOneEndsAtOnce) {
  const auto end = in_child([] {
    ::raise(SIGINT);
    ::raise(SIGTERM);
    return 1;
  });
  EXPECT_EQ(end.exit_code, 130);
}

TEST(Signals, ClosedPipeIsNoCrash) {
  const auto end = in_child([] {
    int ends[2];
    if (::pipe(ends) != 0) return 1;
    ::close(ends[0]);
    return ::write(ends[1], "x", 1) < 0 && errno == EPIPE ? 42 : 2;
  });
  EXPECT_EQ(end.exit_code, 42);
}

TEST(Signals, TruncatedMapNamesTheFile) {
  test::TempDir dir;
  const auto path = dir / "weights with space.bin";
  std::ofstream(path) << std::string(1 << 16, 'x');
  const auto end = in_child([&] {
    auto file = MappedFile::open(path);
    std::filesystem::resize_file(path, 0);
    return static_cast<int>(file->data()[1 << 15]);
  });
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_NE(end.error_text.find("espalier: error: " + path.string() + ": the file was truncated"), std::string::npos)
      << end.error_text;
}

TEST(Signals, ABusErrorOfOursStaysACrash) {
  const auto end = in_child([] {
    ::raise(SIGBUS);
    return 0;
  });
  EXPECT_EQ(end.exit_code, -SIGBUS);
}

}  // namespace
}  // namespace espalier
