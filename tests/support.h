// What every test file may need: a temporary directory, the shared data, an expected UserError.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "espalier/core/error.h"

namespace espalier::test {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "espalier-test-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Real models and data: $ESPALIER_SHARED_DIR, else ../shared beside the source tree.
inline std::filesystem::path shared_dir() {
  if (const char* set = std::getenv("ESPALIER_SHARED_DIR")) return set;
  return std::filesystem::path(ESPALIER_SOURCE_DIR).parent_path() / "shared";
}

inline std::filesystem::path assets_dir() { return std::filesystem::path(ESPALIER_SOURCE_DIR) / "assets"; }

}  // namespace espalier::test

// Skips by name when the shared file or folder is not on this machine.
#define ESP_NEED_SHARED(variable, relative)                                                     \
  const std::filesystem::path variable = ::espalier::test::shared_dir() / (relative);           \
  if (!std::filesystem::exists(variable)) GTEST_SKIP() << "needs " << variable.string()

// The statement must throw UserError whose text contains every given fragment.
#define ESP_EXPECT_USER_ERROR(statement, fragment)                                              \
  try {                                                                                         \
    statement;                                                                                  \
    ADD_FAILURE() << "no error from: " #statement;                                              \
  } catch (const ::espalier::UserError& error) {                                                \
    EXPECT_NE(std::string(error.what()).find(fragment), std::string::npos) << error.what();      \
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();          \
  }
