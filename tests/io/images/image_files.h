// Data sets of pictures, written for tests.
#pragma once

#include <fstream>
#include <string>

#include "espalier/core/file.h"
#include "tests/support.h"

namespace espalier::test {

inline std::filesystem::path image_fixtures() {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/images";
}
inline std::string image_fixture(const std::string& name) { return read_file(image_fixtures() / name, 1 << 20); }

inline void write(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

// Every plane has its own value: first, first + 1, first + 2; the first pixel of the red plane is 255.
inline std::string cifar_record(std::string labels, int first) {
  for (int c = 0; c < 3; ++c) labels += std::string(1024, static_cast<char>(first + c));
  labels[labels.size() - 3 * 1024] = '\xff';
  return labels;
}

inline std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

inline std::string idx(uint32_t magic, std::vector<uint32_t> dims, const std::string& values) {
  std::string bytes = big_endian(magic);
  for (uint32_t dim : dims) bytes += big_endian(dim);
  return bytes + values;
}

}  // namespace espalier::test
