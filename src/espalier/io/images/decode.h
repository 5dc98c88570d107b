// JPEG and PNG files as pictures. Any malformed file is a UserError that names it; nothing is allocated for pixels
// before the header, the limit kMaxPixels and the file's own size have been compared.
//
// JPEG: grey, YCbCr and RGB as libjpeg decodes them; CMYK and YCCK become RGB by (1 - C)(1 - K). The orientation tag is
// not applied, and neither are colour profiles and gamma: what classifiers were trained on did neither.
// PNG: every bit depth as 8 bits (16 bits are rounded), palettes become RGB, alpha is dropped (colours stay as stored).
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "espalier/io/images/picture.h"

namespace espalier {

Picture decode_picture(std::span<const std::byte> file, const std::string& where);  // told apart by their first bytes
Picture read_picture(const std::filesystem::path& path);

// .jpg, .jpeg or .png in any case.
bool is_picture_name(const std::filesystem::path& path);

}  // namespace espalier
