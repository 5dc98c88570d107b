// A folder that goes with the object.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "espalier/core/error.h"

namespace espalier {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "espalier-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) user_error("{}: no temporary folder can be made there", pattern);
    path_ = pattern;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace espalier
