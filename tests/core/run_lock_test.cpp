#include "espalier/core/run_lock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/support.h"

namespace espalier {
namespace {

TEST(RunLock, OneHolderAtATime) {
  test::TempDir dir;
  RunLock first, second;
  first.acquire(dir / "run", "OUT");
  ESP_EXPECT_USER_ERROR(second.acquire(dir / "run", "OUT"),
                        "OUT: another run is at work there (process " + std::to_string(::getpid()));
  first.release();
  second.acquire(dir / "run", "OUT");
}

TEST(RunLock, AnotherProcessHoldsItUntilItDies) {
  test::TempDir dir;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    RunLock lock;
    lock.acquire(dir / "run", "OUT");
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  RunLock lock;
  ESP_EXPECT_USER_ERROR(lock.acquire(dir / "run", "OUT"), "process " + std::to_string(child) + " on ");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  lock.acquire(dir / "run", "OUT");  // its text is still there, its process is not
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(RunLock, GarbageInTheFileIsNoHolder) {
  test::TempDir dir;
  std::ofstream(dir / "lock") << std::string(10000, '\xff');
  RunLock lock;
  lock.acquire(dir.path(), "OUT");
}

}  // namespace
}  // namespace espalier
