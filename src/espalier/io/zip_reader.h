// The directory of a zip archive whose entries are stored, not compressed, so that they can be used where they lie
// (torch checkpoints, .npz files). Zip64 included.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace espalier {

struct ZipEntry {
  std::string name;
  uint64_t begin = 0, size = 0;  // bytes within the file
};

bool looks_like_zip(std::span<const std::byte> file);

// In directory order, names unique, every range inside the file. UserError: `where`, entry, what; a compressed or
// encrypted entry is refused by name. Reads the directory and each entry's local header, never its content.
std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> file, const std::string& where);

}  // namespace espalier
