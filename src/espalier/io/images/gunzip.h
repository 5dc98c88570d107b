// gzip files, unpacked in bounded memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace espalier {

constexpr uint64_t kMaxDeflateRatio = 1032;  // deflate cannot pack better

bool is_gzip(std::span<const std::byte> file);

// The first `most` bytes of what the file holds (all of it when it holds fewer; its checksum is then verified), from
// one or more gzip members. UserError naming `where` when the file is damaged or ends too early.
std::vector<uint8_t> gunzip(std::span<const std::byte> file, uint64_t most, const std::string& where);

}  // namespace espalier
