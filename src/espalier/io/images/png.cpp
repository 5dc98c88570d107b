#include <png.h>

#include <csetjmp>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/io/images/codecs.h"
#include "espalier/io/images/gunzip.h"

namespace espalier {
namespace {

constexpr png_alloc_size_t kMaxChunkBytes = 8u << 20;  // of texts and profiles, which nobody reads

class PngReader {
 public:
  PngReader(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;

  Picture read() {
    guarded([this] { read_header(); });
    const uint64_t width = png_get_image_width(png_, info_), height = png_get_image_height(png_, info_);
    const uint64_t pixel_bits = uint64_t{png_get_bit_depth(png_, info_)} * png_get_channels(png_, info_);
    check_picture_size(width, height, file_.size() * kMaxDeflateRatio * 8 / pixel_bits, where_);
    guarded([this] { ask_for_8_bits(); });
    Picture picture{static_cast<int64_t>(height), static_cast<int64_t>(width), png_get_channels(png_, info_), {}};
    const uint64_t row_bytes = width * static_cast<uint64_t>(picture.channels);
    ESP_ASSERT(png_get_rowbytes(png_, info_) == row_bytes && (picture.channels == 1 || picture.channels == 3));
    picture.pixels.resize(height * row_bytes);
    std::vector<png_bytep> rows(height);
    for (uint64_t y = 0; y < height; ++y) rows[y] = picture.pixels.data() + y * row_bytes;
    png_bytepp row_table = rows.data();
    guarded([this, row_table] {
      png_read_image(png_, row_table);
      png_read_end(png_, nullptr);
    });
    return picture;
  }

 private:
  // libpng's errors jump back here, over its own frames and those of `body`, which therefore owns nothing.
  template <typename Body>
  void guarded(Body body) {
    if (setjmp(jump_) != 0) user_error("{}: PNG: {}", where_, text_);
    body();
  }

  static void on_error(png_structp png, png_const_charp text) {
    auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
    std::strncpy(self->text_, text, sizeof self->text_ - 1);
    std::longjmp(self->jump_, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep to, size_t bytes) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (bytes > self->file_.size() - self->at_) png_error(png, "the file ends too early");
    std::memcpy(to, self->file_.data() + self->at_, bytes);
    self->at_ += bytes;
  }

  void read_header() {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    if (!info_) throw std::bad_alloc();
    png_set_read_fn(png_, this, on_read);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // check_picture_size() is ours
    png_set_chunk_malloc_max(png_, kMaxChunkBytes);
    png_read_info(png_, info_);
  }

  void ask_for_8_bits() {
    const int colours = png_get_color_type(png_, info_);
    if (colours == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
    if (colours == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png_);
    png_set_scale_16(png_);
    png_set_strip_alpha(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
  }

  std::span<const std::byte> file_;
  const std::string& where_;
  size_t at_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::jmp_buf jump_{};
  char text_[128] = {};
};

}  // namespace

Picture decode_png(std::span<const std::byte> file, const std::string& where) { return PngReader(file, where).read(); }

}  // namespace espalier
