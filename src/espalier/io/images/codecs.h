// The two formats behind decode.h.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "espalier/io/images/picture.h"

namespace espalier {

Picture decode_jpeg(std::span<const std::byte> file, const std::string& where);
Picture decode_png(std::span<const std::byte> file, const std::string& where);

// UserError unless a picture of this size may be decoded from a file that can hold at most `most_pixels`.
void check_picture_size(uint64_t width, uint64_t height, uint64_t most_pixels, const std::string& where);

}  // namespace espalier
