// Standard output: results only. stderr belongs to core/log.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace espalier {

// Opens /dev/null for whichever of the three standard descriptors is closed, so that no file of ours gets its number.
void ensure_standard_descriptors();

// Writes all of it. A reader that went away (`espalier … | head`) ends the process quietly with exit 0; any other
// failure, as a full disk, is a UserError.
void write_stdout(std::string_view text);

// All of standard input. UserError when it is longer than `most` bytes or cannot be read.
std::string read_stdin(uint64_t most);

}  // namespace espalier
