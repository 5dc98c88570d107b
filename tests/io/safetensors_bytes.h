// Safetensors files made byte by byte, so that tests can say what no writer would.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "espalier/io/safetensors.h"

namespace espalier::test {

inline std::string with_length(uint64_t length, std::string_view rest) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + std::string(rest);
}

inline std::string safetensors_bytes(std::string_view header, std::string_view data = "") {
  return with_length(header.size(), header) + std::string(data);
}

inline SafetensorsHeader parse(std::string_view file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "w.safetensors");
}

// One header that names tensor "a" and a data part of `data_bytes` zeros.
inline SafetensorsHeader parse_entry(std::string_view entry, size_t data_bytes) {
  return parse(safetensors_bytes("{\"a\":" + std::string(entry) + "}", std::string(data_bytes, '\0')));
}

inline void put_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace espalier::test
