#include "espalier/core/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }
std::string got(const fs::path& path) { return read_file(path, 1u << 20); }

size_t files_in(const fs::path& directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

// Runs the body in a child that may write only so many bytes into one file, as on a full disk; true if it succeeded.
template <typename Body>
bool succeeds_with_file_size_limit(rlim_t bytes, Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(File, MapsTheBytesAndSurvivesAnEmptyFile) {
  test::TempDir dir;
  put(dir / "a", "hello");
  const auto file = MappedFile::open(dir / "a");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->data()), file->size()), "hello");
  put(dir / "empty", "");
  EXPECT_EQ(MappedFile::open(dir / "empty")->size(), 0u);
}

TEST(File, RefusesWhatIsNotARegularFile) {
  test::TempDir dir;
  ESP_EXPECT_USER_ERROR(MappedFile::open(dir / "absent"), "absent: cannot open: No such file");
  ESP_EXPECT_USER_ERROR(MappedFile::open(dir.path()), "not a regular file");
  ESP_EXPECT_USER_ERROR(read_file("/dev/zero", 100), "not a regular file");
}

TEST(File, NoticesThatAFileWasChangedReplacedOrRemoved) {
  test::TempDir dir;
  put(dir / "a", "hello");
  const auto file = MappedFile::open(dir / "a");
  EXPECT_NO_THROW(file->check_unchanged());
  put(dir / "b", "other");
  fs::rename(dir / "b", dir / "a");
  ESP_EXPECT_USER_ERROR(file->check_unchanged(), "changed while espalier was reading it");
  const auto second = MappedFile::open(dir / "a");
  std::ofstream(dir / "a", std::ios::app) << "more";
  ESP_EXPECT_USER_ERROR(second->check_unchanged(), "changed while");
  const auto third = MappedFile::open(dir / "a");
  fs::remove(dir / "a");
  ESP_EXPECT_USER_ERROR(third->check_unchanged(), "changed while");
}

TEST(File, DroppedPagesComeBackFromTheFile) {
  test::TempDir dir;
  put(dir / "a", std::string(3 * 4096 + 5, 'x'));
  const auto file = MappedFile::open(dir / "a");
  file->drop_pages(file->data(), file->size());
  file->drop_pages(file->data() + 10, 3);
  for (uint64_t i = 0; i < file->size(); ++i) ASSERT_EQ(file->data()[i], std::byte{'x'});
}

TEST(File, WholeReadingHasABound) {
  test::TempDir dir;
  put(dir / "a", "12345");
  EXPECT_EQ(read_file(dir / "a", 5), "12345");
  ESP_EXPECT_USER_ERROR(read_file(dir / "a", 4), "5 bytes, more than the 4");
}

TEST(AtomicFile, AppearsOnlyAtCommitAndReplacesTheOld) {
  test::TempDir dir;
  put(dir / "a", "old");
  AtomicFile file(dir / "a");
  file.write("new ");
  file.write("content");
  EXPECT_EQ(got(dir / "a"), "old");
  file.commit();
  EXPECT_EQ(got(dir / "a"), "new content");
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  test::TempDir dir;
  {
    AtomicFile file(dir / "a");
    file.write("half");
  }
  EXPECT_EQ(files_in(dir.path()), 0u);
}

TEST(AtomicFile, WritesAnywhere) {
  test::TempDir dir;
  AtomicFile file(dir / "a");
  file.write("ab");
  file.write_at(5, "f", 1);
  file.write_at(2, "cd", 2);
  EXPECT_EQ(file.bytes_written(), 6u);
  file.write("g");
  file.commit();
  EXPECT_EQ(got(dir / "a"), std::string("abcd\0fg", 7));
}

TEST(AtomicFile, NamesADirectoryThatIsMissing) {
  test::TempDir dir;
  ESP_EXPECT_USER_ERROR(AtomicFile(dir / "absent" / "a"), "absent/a: cannot create");
}

TEST(AtomicFile, CannotTakeTheNameOfADirectory) {
  test::TempDir dir;
  fs::create_directories(dir / "a" / "b");
  AtomicFile file(dir / "a");
  file.write("x");
  ESP_EXPECT_USER_ERROR(file.commit(), "cannot finish");
  EXPECT_TRUE(fs::is_directory(dir / "a"));
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(AtomicFile, AFullDiskIsOneErrorWithTheByteAndLeavesTheOldFile) {
  test::TempDir dir;
  put(dir / "a", "old");
  EXPECT_TRUE(succeeds_with_file_size_limit(100'000, [&] {
    try {
      AtomicFile file(dir / "a");
      for (int i = 0; i < 100; ++i) file.write(std::string(3000, 'x'));
      return false;
    } catch (const UserError& error) {
      const std::string text = error.what();
      return text.find("/a: cannot write at byte 100000: File too large") != std::string::npos;
    }
  }));
  EXPECT_EQ(got(dir / "a"), "old");
  EXPECT_EQ(files_in(dir.path()), 1u);
}

// Killed after every number of writes, the target holds the old content or the new.
TEST(AtomicFile, AKillLeavesTheOldOrTheNewContent) {
  test::TempDir dir;
  for (int steps = 0; steps <= 5; ++steps) {
    put(dir / "a", "old");
    const pid_t child = ::fork();
    if (child == 0) {
      int left = steps;
      auto step = [&] {
        if (left-- == 0) ::kill(::getpid(), SIGKILL);
      };
      AtomicFile file(dir / "a");
      for (const char* part : {"n", "e", "w"}) {
        step();
        file.write(part);
      }
      step();
      file.commit();
      step();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(WIFSIGNALED(status), steps < 5);
    EXPECT_EQ(got(dir / "a"), steps < 4 ? "old" : "new") << steps;
  }
}

TEST(File, WritesAtomicallyInOneCall) {
  test::TempDir dir;
  write_file_atomically(dir / "name with spaces ä", "content");
  EXPECT_EQ(got(dir / "name with spaces ä"), "content");
}

TEST(File, SyncingAMissingDirectoryFails) {
  ESP_EXPECT_USER_ERROR(fsync_directory("/nonexistent-directory"), "cannot open");
}

// FIPS 180-2, appendix B.
TEST(File, Sha256OfTheStandardsExamples) {
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  test::TempDir dir;
  put(dir / "a", std::string(1'000'000, 'a'));
  EXPECT_EQ(sha256_of_file(dir / "a"), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace espalier
