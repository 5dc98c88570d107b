#include "espalier/io/images/decode.h"

#include <algorithm>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/io/images/codecs.h"

namespace espalier {

void check_picture_size(uint64_t width, uint64_t height, uint64_t most_pixels, const std::string& where) {
  if (width == 0 || height == 0)
    throw UserError(where, "picture", "at least one pixel", fmt::format("{}x{}", width, height));
  const uint64_t pixels = width * height;  // both are below 2^32
  if (pixels > static_cast<uint64_t>(kMaxPixels))
    throw UserError(where, "picture", fmt::format("at most {} pixels", kMaxPixels),
                    fmt::format("{}x{}", width, height));
  if (pixels > most_pixels)
    throw UserError(where, "picture",
                    fmt::format("at most the {} pixels that a file of this size can hold", most_pixels),
                    fmt::format("{}x{}", width, height));
}

Picture decode_picture(std::span<const std::byte> file, const std::string& where) {
  const auto starts_with = [&](std::string_view magic) {
    return file.size() >= magic.size() && std::memcmp(file.data(), magic.data(), magic.size()) == 0;
  };
  if (starts_with("\xff\xd8\xff")) return decode_jpeg(file, where);
  if (starts_with("\x89PNG\r\n\x1a\n")) return decode_png(file, where);
  throw UserError(where, "picture", "a JPEG or PNG file", fmt::format("{} other bytes", file.size()));
}

Picture read_picture(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return decode_picture({file->data(), file->size()}, path.string());
}

bool is_picture_name(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace espalier
